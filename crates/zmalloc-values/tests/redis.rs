//! Every format checked both ways against a real redis-server (7.0 or later). `ci/values` runs these: plain `cargo test`
//! needs no peers.

mod common;

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use zmalloc_values::dump::{Form, Payload};
use zmalloc_values::{
    Element, Global, Hash, HyperLogLog, Intset, List, Listpack, Object, Set, SortedSet, Thresholds, Ziplist,
};

/// Limits that leave values of some thousand elements, and elements of some 10 KB, in their compact form.
const COMPACT: &[&str] = &[
    "--hash-max-listpack-entries 100000",
    "--hash-max-listpack-value 100000",
    "--zset-max-listpack-entries 100000",
    "--zset-max-listpack-value 100000",
    "--set-max-intset-entries 100000",
    "--sanitize-dump-payload yes",
    "--rdbcompression no",
];

struct Server {
    process: Child,
    stream: BufReader<TcpStream>,
    folder: std::path::PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Option<Vec<u8>>),
    Array(Vec<Reply>),
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("zmalloc-values-{}-{port}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"]);
        command.args(["--port", &port.to_string(), "--dir"]).arg(&folder);
        command.args(options.iter().flat_map(|option| option.split(' ')));
        let process = command.stdout(Stdio::null()).spawn().expect("redis-server: ci/install-peers installs it");
        let deadline = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break BufReader::new(stream),
                Err(error) => assert!(Instant::now() < deadline, "redis-server does not answer: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        stream.get_ref().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Server { process, stream, folder }
    }

    fn call(&mut self, arguments: &[&[u8]]) -> Reply {
        let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            request.extend_from_slice(argument);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<i64>().unwrap();
        match kind {
            "+" => Reply::Status(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(number()),
            "$" if number() < 0 => Reply::Bulk(None),
            "$" => {
                let mut bytes = vec![0; number() as usize + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(Some(bytes))
            }
            "*" => Reply::Array((0..number()).map(|_| self.reply()).collect()),
            _ => panic!("no reply: {line:?}"),
        }
    }

    fn integer(&mut self, arguments: &[&[u8]]) -> i64 {
        match self.call(arguments) {
            Reply::Integer(integer) => integer,
            other => panic!("{other:?}"),
        }
    }

    fn bytes(&mut self, arguments: &[&[u8]]) -> Vec<u8> {
        match self.call(arguments) {
            Reply::Bulk(Some(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn list(&mut self, arguments: &[&[u8]]) -> Vec<Vec<u8>> {
        let Reply::Array(replies) = self.call(arguments) else { panic!("no array") };
        let bytes = |reply| if let Reply::Bulk(Some(bytes)) = reply { bytes } else { panic!("{reply:?}") };
        replies.into_iter().map(bytes).collect()
    }

    fn text(&mut self, arguments: &[&str]) -> Reply {
        self.call(&arguments.iter().map(|argument| argument.as_bytes()).collect::<Vec<_>>())
    }

    fn flush(&mut self) {
        assert_eq!(self.text(&["FLUSHALL"]), Reply::Status("OK".into()));
    }

    fn dump(&mut self, key: &str) -> Payload {
        Payload::read(&self.bytes(&[b"DUMP", key.as_bytes()])).unwrap()
    }

    fn restore(&mut self, key: &str, payload: &Payload) {
        let reply = self.call(&[b"RESTORE", key.as_bytes(), b"0", &payload.write(), b"REPLACE"]);
        assert_eq!(reply, Reply::Status("OK".into()), "{payload:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By its process id, as the handle has it.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

#[test]
#[ignore = "needs redis-server: ci/values"]
fn a_hyperloglog_has_redis_s_bytes_and_counts() {
    let mut server = Server::start(COMPACT);
    for round in 0..8u64 {
        let mut ours: HyperLogLog = HyperLogLog::new();
        assert_eq!(server.text(&["PFADD", "key"]), Reply::Integer(1));
        assert_eq!(server.bytes(&[b"GET", b"key"]), ours.as_bytes());
        let mut added = 0u64;
        for upto in [1, 2, 3, 5, 10, 50, 100, 400, 700, 1000, 1300, 1600, 2000, 3000, 10_000, 60_000] {
            while added < upto {
                // One by one while the bytes still tell every step, then by hundreds.
                let batch = if added < 400 { 1 } else { 100.min(upto - added) };
                let elements: Vec<Vec<u8>> = (added..added + batch)
                    .map(|number| format!("{round}:{number}{}", "x".repeat(number as usize % 11)).into_bytes())
                    .collect();
                let mut request: Vec<&[u8]> = vec![b"PFADD", b"key"];
                request.extend(elements.iter().map(|element| &element[..]));
                let changed = server.integer(&request) == 1;
                let ours_changed = elements.iter().fold(false, |changed, element| ours.add(element) | changed);
                assert_eq!(ours_changed, changed, "after {added}");
                added += batch;
                if added < 400 {
                    assert_eq!(ours.as_bytes(), server.bytes(&[b"GET", b"key"]), "after {added}");
                }
            }
            assert_eq!(ours.as_bytes(), server.bytes(&[b"GET", b"key"]), "after {added}");
            assert_eq!(ours.count() as i64, server.integer(&[b"PFCOUNT", b"key"]), "after {added}");
            assert_eq!(ours.as_bytes(), server.bytes(&[b"GET", b"key"]), "with the count kept, after {added}");
            let theirs: HyperLogLog = HyperLogLog::from_bytes(&server.bytes(&[b"GET", b"key"])).unwrap();
            assert_eq!(theirs.estimate(), ours.count());
            // Ours, read by Redis, which then counts anew.
            server.call(&[b"SET", b"ours", ours.as_bytes()]);
            server.call(&[b"PFMERGE", b"counted", b"ours"]);
            assert_eq!(server.integer(&[b"PFCOUNT", b"counted"]), ours.count() as i64);
            server.text(&["DEL", "counted"]);
        }
        assert!(!ours.is_sparse());
        server.flush();
    }
}

#[test]
#[ignore = "needs redis-server: ci/values"]
fn merged_hyperloglogs_have_redis_s_bytes() {
    let mut server = Server::start(COMPACT);
    for (one, two) in [(0, 0), (0, 100), (100, 0), (300, 500), (900, 900), (100, 5000), (5000, 100), (5000, 9000)] {
        let mut logs: [HyperLogLog; 2] = Default::default();
        for (name, count, log) in [("one", one, 0), ("two", two, 1)] {
            server.text(&["PFADD", name]);
            for number in 0..count {
                let element = format!("{name} {}", number * 7919 % 10_007);
                server.text(&["PFADD", name, &element]);
                logs[log].add(element.as_bytes());
            }
        }
        let [mut merged, other] = logs;
        assert_eq!(server.text(&["PFMERGE", "one", "two"]), Reply::Status("OK".into()));
        merged.merge(&other);
        assert_eq!(merged.as_bytes(), server.bytes(&[b"GET", b"one"]), "{one} and {two}");
        assert_eq!(merged.count() as i64, server.integer(&[b"PFCOUNT", b"one"]));
        server.flush();
    }
}

/// Fields and values of any bytes, set and removed in any order.
fn hash_program() -> impl Strategy<Value = Vec<(bool, u8, Vec<u8>)>> {
    prop::collection::vec((prop::bool::weighted(0.8), 0..30u8, common::element()), 1..60)
}

#[test]
#[ignore = "needs redis-server: ci/values"]
fn a_listpack_has_redis_s_bytes_and_is_restored() {
    let server = std::cell::RefCell::new(Server::start(COMPACT));
    let thresholds =
        Thresholds { hash_listpack_bytes_max: 100_000, hash_listpack_entries_max: 100_000, ..Thresholds::DEFAULT };
    common::check(150, &hash_program(), |program| {
        let mut server = server.borrow_mut();
        server.flush();
        let mut ours: Hash = Hash::new();
        for (insert, field, value) in program {
            let field = if field % 2 == 0 { field.to_string() } else { format!("field {field}") };
            if insert {
                let new = server.integer(&[b"HSET", b"key", field.as_bytes(), &value]) == 1;
                prop_assert_eq!(ours.insert(&*field, &value[..], &thresholds), new);
            } else {
                let removed = server.integer(&[b"HDEL", b"key", field.as_bytes()]) == 1;
                prop_assert_eq!(ours.remove(&*field), removed);
            }
        }
        if ours.is_empty() {
            return Ok(());
        }
        let payload = server.dump("key");
        prop_assert_eq!(payload.form, Form::HashListpack);
        prop_assert_eq!(&*payload.parts[0].bytes, ours.as_listpack().unwrap().as_bytes());
        prop_assert!(Listpack::<Global>::from_bytes(&payload.parts[0].bytes).is_ok());

        let bytes = ours.as_listpack().unwrap().as_bytes();
        server.restore("ours", &Payload::new(Form::HashListpack, bytes));
        let expected: Vec<Vec<u8>> =
            ours.iter().flat_map(|(field, value)| [field.bytes().into_owned(), value.bytes().into_owned()]).collect();
        prop_assert_eq!(server.list(&[b"HGETALL", b"ours"]), expected);
        Ok(())
    });
}

/// A length behind an entry takes a byte more just below where it has to: Redis reads what it skips by that rule.
#[test]
#[ignore = "needs redis-server: ci/values"]
fn the_lengths_behind_long_entries_are_redis_s() {
    let mut server = Server::start(COMPACT);
    let thresholds = Thresholds { hash_listpack_bytes_max: 10 << 20, ..Thresholds::DEFAULT };
    server.text(&["CONFIG", "SET", "hash-max-listpack-value", "10000000"]);
    for length in (16_370..16_390).chain(2_097_140..2_097_156) {
        let value = vec![b'x'; length];
        let mut ours: Hash = Hash::new();
        for field in ["one", "two"] {
            server.call(&[b"HSET", b"key", field.as_bytes(), &value]);
            ours.insert(field, &value[..], &thresholds);
        }
        assert!(server.dump("key").parts[0].bytes == ours.as_listpack().unwrap().as_bytes(), "{length}");
        server.flush();
    }
}

#[test]
#[ignore = "needs redis-server: ci/values"]
fn a_sorted_set_has_redis_s_bytes_and_is_restored() {
    let server = std::cell::RefCell::new(Server::start(COMPACT));
    let thresholds = Thresholds {
        sorted_set_listpack_bytes_max: 100_000,
        sorted_set_listpack_entries_max: 100_000,
        ..Thresholds::DEFAULT
    };
    let program = prop::collection::vec((0..4u8, 0..20u8, -40..40i32), 1..60);
    common::check(150, &program, |program| {
        let mut server = server.borrow_mut();
        server.flush();
        let mut ours: SortedSet = SortedSet::new();
        for (operation, member, score) in program {
            let (member, score) = (format!("member {member}"), f64::from(score) / 4.0);
            if operation > 0 {
                server.text(&["ZADD", "key", &score.to_string(), &member]);
                ours.insert(&*member, score, &thresholds);
            } else {
                let removed = server.text(&["ZREM", "key", &member]) == Reply::Integer(1);
                prop_assert_eq!(ours.remove(&*member).is_some(), removed);
            }
            let rank = ours.rank(&*member).map(|rank| rank as i64);
            prop_assert_eq!(server.text(&["ZRANK", "key", &member]), rank.map_or(Reply::Bulk(None), Reply::Integer));
        }
        if ours.is_empty() {
            return Ok(());
        }
        let payload = server.dump("key");
        prop_assert_eq!(payload.form, Form::SortedSetListpack);
        prop_assert_eq!(&*payload.parts[0].bytes, ours.as_listpack().unwrap().as_bytes());
        server.restore("ours", &Payload::new(Form::SortedSetListpack, ours.as_listpack().unwrap().as_bytes()));
        let members: Vec<Vec<u8>> = ours.iter().map(|(member, _)| member.bytes().into_owned()).collect();
        prop_assert_eq!(server.list(&[b"ZRANGE", b"ours", b"0", b"-1"]), members);
        Ok(())
    });
}

#[test]
#[ignore = "needs redis-server: ci/values"]
fn an_intset_has_redis_s_bytes_and_is_restored() {
    let server = std::cell::RefCell::new(Server::start(COMPACT));
    let integer = prop_oneof![6 => -30..30i64, 1 => any::<i16>().prop_map(i64::from), 1 => any::<i32>().prop_map(i64::from), 1 => any::<i64>()];
    common::check(200, &prop::collection::vec((0..3u8, integer), 1..80), |program| {
        let mut server = server.borrow_mut();
        server.flush();
        let mut ours: Intset = Intset::new();
        for (operation, integer) in program {
            let text = integer.to_string();
            let (command, changed) =
                if operation > 0 { ("SADD", ours.insert(integer)) } else { ("SREM", ours.remove(integer)) };
            prop_assert_eq!(server.text(&[command, "key", &text]), Reply::Integer(changed.into()));
            // Redis forgets a set that is empty, and with it how wide it was.
            if ours.is_empty() {
                ours = Intset::new();
            }
        }
        if ours.is_empty() {
            return Ok(());
        }
        let payload = server.dump("key");
        prop_assert_eq!(payload.form, Form::SetIntset);
        prop_assert_eq!(&*payload.parts[0].bytes, ours.as_bytes());
        server.restore("ours", &Payload::new(Form::SetIntset, ours.as_bytes()));
        prop_assert_eq!(server.dump("ours"), payload);
        prop_assert_eq!(server.integer(&[b"SCARD", b"ours"]), ours.len() as i64);
        Ok(())
    });
}

/// Redis 7 reads ziplists, looks at every entry of them, and makes listpacks of them.
#[test]
#[ignore = "needs redis-server: ci/values"]
fn a_ziplist_is_restored() {
    let server = std::cell::RefCell::new(Server::start(COMPACT));
    let near = || (any::<u8>(), 240..256usize).prop_map(|(byte, length)| vec![byte; length]);
    let element = || prop_oneof![common::element(), near()];
    let program = prop::collection::vec((0..5u8, any::<usize>(), element()), 1..60);
    common::check(300, &program, |program| {
        let mut server = server.borrow_mut();
        server.flush();
        let mut ours: Ziplist = Ziplist::new();
        for (operation, at, element) in program {
            let at = at.checked_rem(ours.len()).and_then(|index| ours.seek(index as isize));
            match (operation, at) {
                (0, Some(at)) => drop(ours.remove(at)),
                (1, Some(at)) => ours.replace(at, &element[..]),
                (2, Some(at)) => ours.insert_before(at, &element[..]),
                _ => ours.push_back(&element[..]),
            }
        }
        if ours.is_empty() {
            return Ok(());
        }
        let elements: Vec<Vec<u8>> = ours.iter().map(|element| element.bytes().into_owned()).collect();
        server.restore("list", &Payload::new(Form::ListZiplist, ours.as_bytes()));
        prop_assert_eq!(server.list(&[b"LRANGE", b"list", b"0", b"-1"]), &*elements);

        // As a hash, with a field before each.
        let mut pairs: Ziplist = Ziplist::new();
        for (number, element) in elements.iter().enumerate() {
            pairs.push_back(number as i64);
            pairs.push_back(&element[..]);
        }
        server.restore("hash", &Payload::new(Form::HashZiplist, pairs.as_bytes()));
        let made = server.dump("hash");
        let made: Listpack = Listpack::from_bytes(&made.parts[0].bytes).unwrap();
        prop_assert!(made.iter().eq(pairs.iter()));
        Ok(())
    });
    let mut scored: Ziplist = Ziplist::new();
    for (member, score) in [("a", "-1.5"), ("b", "2"), ("c", "1e+100")] {
        scored.push_back(member);
        scored.push_back(score);
    }
    let mut server = server.borrow_mut();
    server.restore("scored", &Payload::new(Form::SortedSetZiplist, scored.as_bytes()));
    assert_eq!(server.text(&["ZSCORE", "scored", "c"]), Reply::Bulk(Some(b"1e+100".to_vec())));
}

#[test]
#[ignore = "needs redis-server: ci/values"]
fn a_list_is_read_and_restored() {
    let server = std::cell::RefCell::new(Server::start(COMPACT));
    let program = prop::collection::vec((0..6u8, any::<usize>(), common::element()), 1..120);
    common::check(100, &program, |program| {
        let mut server = server.borrow_mut();
        server.flush();
        let (mut ours, t) = (List::<Global>::new(), &Thresholds::DEFAULT);
        for (operation, at, element) in program {
            let index = at.checked_rem(ours.len()).unwrap_or(0);
            match operation {
                0 => {
                    server.call(&[b"LPUSH", b"key", &element]);
                    ours.push_front(&element[..], t);
                }
                1 => {
                    let changed = ours.set(index as isize, &element[..], t);
                    let reply = server.call(&[b"LSET", b"key", index.to_string().as_bytes(), &element]);
                    prop_assert_eq!(changed, reply == Reply::Status("OK".into()));
                }
                2 => {
                    let count = server.integer(&[b"LREM", b"key", b"-2", &element]);
                    prop_assert_eq!(ours.remove_equal(&element[..], 2, true, t) as i64, count);
                }
                3 if at % 4 == 0 => {
                    server.text(&["LTRIM", "key", &(index / 4).to_string(), &(index + 20).to_string()]);
                    ours.keep(index / 4..index + 21, t);
                }
                _ => {
                    server.call(&[b"RPUSH", b"key", &element]);
                    ours.push_back(&element[..], t);
                }
            }
        }
        let elements: Vec<Vec<u8>> = ours.iter().map(|element| element.bytes().into_owned()).collect();
        prop_assert_eq!(server.list(&[b"LRANGE", b"key", b"0", b"-1"]), &*elements);
        if ours.is_empty() {
            return Ok(());
        }
        let mut theirs = Vec::new();
        for part in server.dump("key").parts {
            if part.plain {
                theirs.push(part.bytes);
            } else {
                let list: Listpack = Listpack::from_bytes(&part.bytes).unwrap();
                theirs.extend(list.iter().map(|element| element.bytes().into_owned()));
            }
        }
        prop_assert_eq!(&theirs, &elements);
        server.restore("ours", &Payload::quicklist(ours.listpacks().map(Listpack::as_bytes)));
        prop_assert_eq!(server.list(&[b"LRANGE", b"ours", b"0", b"-1"]), elements);
        Ok(())
    });
}

#[test]
#[ignore = "needs redis-server: ci/values"]
fn strings_are_read_compressed_and_as_integers() {
    let mut server = Server::start(&["--rdbcompression yes"]);
    let texts = ["", "7", "-129", "70000", "3000000000", "short", &"ab".repeat(5000), &"x".repeat(70_000)];
    for text in texts {
        server.text(&["SET", "key", text]);
        let payload = server.dump("key");
        assert_eq!((payload.form, &*payload.parts[0].bytes), (Form::String, text.as_bytes()));
        server.restore("ours", &Payload::new(Form::String, text.as_bytes()));
        assert_eq!(server.bytes(&[b"GET", b"ours"]), text.as_bytes());
    }
    // A listpack that compresses.
    for number in 0..400 {
        server.text(&["HSET", "hash", &format!("field {number}"), "the same value"]);
    }
    let list: Listpack = Listpack::from_bytes(&server.dump("hash").parts[0].bytes).unwrap();
    assert_eq!(list.len(), 800);
}

#[test]
#[ignore = "needs redis-server: ci/values"]
fn the_encodings_change_where_redis_s_do() {
    let mut server = Server::start(&[]);
    let t = &Thresholds::DEFAULT;
    let encoding = |server: &mut Server, key: &str| match server.text(&["OBJECT", "ENCODING", key]) {
        Reply::Bulk(Some(name)) => String::from_utf8(name).unwrap(),
        other => panic!("{other:?}"),
    };
    let long = "9".repeat(19);
    for text in ["", "0", "9999", "10000", "-5", "007", "9223372036854775807", &long, "9223372036854775808", "hello"]
        .into_iter()
        .map(str::to_owned)
        .chain((40..50).map(|length| "x".repeat(length)))
    {
        server.text(&["SET", "key", &text]);
        let ours: Object = Object::string(text.as_bytes(), t);
        assert_eq!(ours.encoding().name(), encoding(&mut server, "key"), "{text}");
        let references = server.text(&["OBJECT", "REFCOUNT", "key"]);
        assert_eq!(references, Reply::Integer(ours.reference_count().into()), "{text}");
        server.text(&["APPEND", "key", "!"]);
        let mut ours = ours;
        ours.string_mut().unwrap().extend_from_slice(b"!");
        assert_eq!(ours.encoding().name(), encoding(&mut server, "key"), "{text}!");
    }

    let (mut hash, mut scored) = (Object::<Global>::from(Hash::new()), Object::<Global>::from(SortedSet::new()));
    for number in 0..520 {
        let name = format!("name {number}");
        server.text(&["HSET", "hash", &name, "1"]);
        hash.hash_mut().unwrap().insert(&*name, 1, t);
        assert_eq!(hash.encoding().name(), encoding(&mut server, "hash"), "{number} fields");
        server.text(&["ZADD", "scored", "1", &name]);
        scored.sorted_set_mut().unwrap().insert(&*name, 1.0, t);
        assert_eq!(scored.encoding().name(), encoding(&mut server, "scored"), "{number} members");
    }
    for length in [63, 64, 65] {
        let value = "v".repeat(length);
        for (field, value) in [("f", &*value), (&*value, "v")] {
            server.flush();
            server.text(&["HSET", "hash", field, value]);
            let mut hash: Hash = Hash::new();
            hash.insert(field, value, t);
            assert_eq!(hash.encoding().name(), encoding(&mut server, "hash"), "{length}");
        }
    }
    // Sets are listpacks from 7.2 on only; with those off, intsets and tables are as in 7.0.
    let t = &Thresholds { set_listpack_entries_max: 0, ..Thresholds::DEFAULT };
    let mut set: Set = Set::new();
    server.text(&["CONFIG", "SET", "set-max-listpack-entries", "0"]);
    for number in 0..520i64 {
        server.text(&["SADD", "set", &number.to_string()]);
        set.insert(number, t);
        assert_eq!(set.encoding().name(), encoding(&mut server, "set"), "{number} members");
    }
    let mut set: Set = Set::new();
    for member in ["1", "one"] {
        server.text(&["SADD", "words", member]);
        set.insert(member, t);
        assert_eq!(set.encoding().name(), encoding(&mut server, "words"), "{member}");
    }
    let members: BTreeMap<Vec<u8>, ()> = set.iter().map(|member: Element| (member.bytes().into_owned(), ())).collect();
    assert_eq!(members.len(), 2);
}
