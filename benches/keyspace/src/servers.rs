//! Servers on loopback behind the same face, each with a connection that pipelines.

use crate::caches::Cache;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Redis,
    Memcached,
}

pub struct Server {
    child: Child,
    kind: Kind,
    connection: Mutex<Connection>,
}

struct Connection {
    to: BufWriter<TcpStream>,
    from: BufReader<TcpStream>,
    /// Answers that are on their way.
    awaited: usize,
}

pub const NAMES: &[&str] = &["redis", "memcached"];

impl Server {
    /// Starts one of [`NAMES`].
    pub fn start(name: &str, max_memory: usize) -> Option<Server> {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port().to_string();
        let (kind, mut command) = match name {
            "redis" => {
                let mut command = Command::new("redis-server");
                command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
                command.args(["--maxmemory", &max_memory.to_string(), "--maxmemory-policy", "allkeys-lru"]);
                (Kind::Redis, command)
            }
            "memcached" => {
                let mut command = Command::new("memcached");
                let mebibytes = (max_memory >> 20).to_string();
                command.args(["-p", &port, "-l", "127.0.0.1", "-U", "0", "-m", &mebibytes, "-u", "nobody"]);
                (Kind::Memcached, command)
            }
            _ => return None,
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server is installed");
        let stream = (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            TcpStream::connect(format!("127.0.0.1:{port}")).ok()
        });
        let stream = stream.expect("the server answers");
        stream.set_nodelay(true).unwrap();
        let (to, from) = (BufWriter::with_capacity(64 << 10, stream.try_clone().unwrap()), BufReader::new(stream));
        Some(Server { child, kind, connection: Mutex::new(Connection { to, from, awaited: 0 }) })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says that it uses, in bytes.
    pub fn used(&self) -> usize {
        let mut connection = self.connection.lock().unwrap();
        connection.settle();
        let (question, field, end) = match self.kind {
            Kind::Redis => ("INFO memory\r\n", "used_memory:", "mem_clients_normal"),
            Kind::Memcached => ("stats\r\n", "STAT bytes ", "END"),
        };
        connection.to.write_all(question.as_bytes()).unwrap();
        connection.to.flush().unwrap();
        let (mut line, mut used) = (String::new(), 0);
        // All of it, up to its last line.
        while {
            line.clear();
            connection.from.read_line(&mut line).unwrap();
            if let Some(figure) = line.strip_prefix(field) {
                used = figure.trim().parse().unwrap();
            }
            !line.starts_with(end)
        } {}
        if self.kind == Kind::Redis {
            while !line.trim().is_empty() {
                line.clear();
                connection.from.read_line(&mut line).unwrap();
            }
        }
        used
    }

    fn store(&self, key: &[u8], value: &[u8], ttl: Option<Duration>) {
        let mut connection = self.connection.lock().unwrap();
        let to = &mut connection.to;
        match self.kind {
            Kind::Redis => {
                let seconds = ttl.map(|ttl| ttl.as_secs().to_string());
                write!(to, "*{}\r\n$3\r\nSET\r\n${}\r\n", if ttl.is_some() { 5 } else { 3 }, key.len()).unwrap();
                to.write_all(key).unwrap();
                write!(to, "\r\n${}\r\n", value.len()).unwrap();
                to.write_all(value).unwrap();
                to.write_all(b"\r\n").unwrap();
                if let Some(seconds) = seconds {
                    write!(to, "$2\r\nEX\r\n${}\r\n{seconds}\r\n", seconds.len()).unwrap();
                }
            }
            Kind::Memcached => {
                to.write_all(b"set ").unwrap();
                to.write_all(key).unwrap();
                write!(to, " 0 {} {}\r\n", ttl.map_or(0, |ttl| ttl.as_secs()), value.len()).unwrap();
                to.write_all(value).unwrap();
                to.write_all(b"\r\n").unwrap();
            }
        }
        connection.awaited += 1;
        if connection.awaited == 500 {
            connection.settle();
        }
    }
}

impl Connection {
    fn settle(&mut self) {
        self.to.flush().unwrap();
        let mut line = String::new();
        for _ in 0..std::mem::take(&mut self.awaited) {
            line.clear();
            self.from.read_line(&mut line).unwrap();
        }
    }
}

impl Cache for Server {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.store(key, value, None);
    }

    fn set_for(&self, key: &[u8], value: &[u8], ttl: Duration) {
        self.store(key, value, Some(ttl));
    }

    fn get(&self, key: &[u8]) -> bool {
        let mut connection = self.connection.lock().unwrap();
        connection.settle();
        let question = match self.kind {
            Kind::Redis => [b"GET ", key, b"\r\n"].concat(),
            Kind::Memcached => [b"get ", key, b"\r\n"].concat(),
        };
        connection.to.write_all(&question).unwrap();
        connection.to.flush().unwrap();
        let mut line = String::new();
        connection.from.read_line(&mut line).unwrap();
        let length = match self.kind {
            Kind::Redis => line.trim_start_matches('$').trim().parse::<i64>().unwrap(),
            Kind::Memcached => line.split(' ').nth(3).map_or(-1, |length| length.trim().parse().unwrap()),
        };
        if length >= 0 {
            let mut rest = vec![0; length as usize + 2];
            connection.from.read_exact(&mut rest).unwrap();
            if self.kind == Kind::Memcached {
                connection.from.read_line(&mut line).unwrap();
            }
        }
        length >= 0
    }

    fn settle(&self) {
        self.connection.lock().unwrap().settle();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
