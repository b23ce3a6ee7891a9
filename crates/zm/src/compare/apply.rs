//! How a program gets another allocator for good.

use super::recommend::How;
use super::row::Row;
use crate::report::short_name;

/// An allocator in Rust: what Cargo is told, and the type of the static.
fn in_rust(backend: &str) -> Option<(&'static str, &'static str)> {
    match backend {
        "jemalloc" => {
            Some(("tikv-jemallocator = \"0.7\"", "tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc"))
        }
        "mimalloc" => Some(("mimalloc = \"0.1\"", "mimalloc::MiMalloc = mimalloc::MiMalloc")),
        "snmalloc" => Some(("snmalloc-rs = \"0.7\"", "snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc")),
        "tcmalloc" => Some((
            "zmalloc = { version = \"0.1\", default-features = false, features = [\"tcmalloc\"] }",
            "zmalloc::Zmalloc<zmalloc::backend::Tcmalloc> = zmalloc::Zmalloc::new()",
        )),
        _ => None,
    }
}

/// The ways to apply a row, the plainest first.
pub fn how(command: &[String], row: &Row) -> Vec<How> {
    let (library, remedy) = row.backend.system_library();
    let replaces = !matches!(row.backend.name, "forward" | "libc");
    let mut variables: Vec<String> = Vec::new();
    if row.backend.name == "libc" {
        variables.push("LD_PRELOAD=libc.so.6".to_owned());
    }
    if let Some(library) = &library {
        variables.push(format!("LD_PRELOAD={}", library.display()));
    }
    variables.extend(row.variables.iter().map(|(variable, value)| format!("{variable}={value}")));
    let mut ways = Vec::new();
    if replaces && library.is_none() {
        ways.push(How {
            place: format!("there is no library of it here to preload ({remedy}); to try it on"),
            lines: vec![shell_line(
                row.variables.iter().map(|(variable, value)| format!("{variable}={value}")),
                &["zm", "run", "--quiet", "--backend", row.backend.name, "--"],
                command,
            )],
        });
    } else {
        let measured = if replaces && row.backend.is_built_in() {
            ", with the system's version: measured was the one built into zm"
        } else {
            ""
        };
        ways.push(How {
            place: format!("in the environment{measured}"),
            lines: vec![shell_line(variables.iter().cloned(), &[], command)],
        });
        let unit = command.first().map_or("PROGRAM", |program| short_name(program));
        ways.push(How {
            place: format!("as a systemd drop-in (systemctl edit {unit}.service)"),
            lines: ["[Service]".to_owned()]
                .into_iter()
                .chain(variables.iter().map(|variable| format!("Environment=\"{}\"", systemd_quoted(variable))))
                .collect(),
        });
    }
    if let Some((dependency, kind)) = in_rust(row.backend.name) {
        let mut lines = vec![
            "# Cargo.toml, [dependencies]".to_owned(),
            dependency.to_owned(),
            "// main.rs".to_owned(),
            "#[global_allocator]".to_owned(),
            format!("static HEAP: {kind};"),
        ];
        for (variable, value) in row.variables.iter().filter(|(variable, _)| variable == "MALLOC_CONF") {
            lines.push(format!("// at run time: _RJEM_{variable}={value}"));
        }
        ways.push(How { place: "in a Rust program of your own".to_owned(), lines });
    }
    ways
}

/// A line for a shell.
fn shell_line(variables: impl Iterator<Item = String>, before: &[&str], command: &[String]) -> String {
    let assignments = variables.map(|variable| match variable.split_once('=') {
        Some((name, value)) => format!("{name}={}", shell_quoted(value)),
        None => variable,
    });
    let words = before.iter().map(|word| (*word).to_owned()).chain(command.iter().map(|word| shell_quoted(word)));
    assignments.chain(words).collect::<Vec<_>>().join(" ")
}

fn shell_quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-./:,+=@%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Inside double quotes; `%` begins a specifier there.
fn systemd_quoted(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_shells_and_systemd() {
        assert_eq!(["a-b.c", "a b", "", "it's"].map(shell_quoted), ["a-b.c", "'a b'", "''", r"'it'\''s'"]);
        assert_eq!(systemd_quoted("a=\"%d\\\""), "a=\\\"%%d\\\\\\\"");
        let command = ["prog".to_owned(), "two words".to_owned()];
        let line = shell_line(["A=b c".to_owned()].into_iter(), &[], &command);
        assert_eq!(line, "A='b c' prog 'two words'");
    }
}
