//! What a check found, and the forms in which it is told.

use super::gate::Gate;
use crate::format::seconds;
use crate::report::text::{Style, plain};
use quick_xml::Writer;
use quick_xml::events::BytesText;
use std::fmt::Write as _;
use std::io;

/// What a check found: the one structure that every form of output is written from.
#[derive(Debug)]
pub struct Verdict {
    /// The program's name.
    pub program: String,
    /// How it ended.
    pub end: String,
    /// Whether it ended well.
    pub ended_well: bool,
    /// How long it took.
    pub wall_seconds: f64,
    /// Every limit.
    pub gates: Vec<Gate>,
    /// What was not counted, so that no limit holds for it.
    pub not_counted: Vec<String>,
}

impl Verdict {
    /// Whether every limit was kept.
    pub fn holds(&self) -> bool {
        self.gates.iter().all(|gate| gate.holds)
    }

    /// For people, ended by a line end.
    pub fn text(&self, style: Style) -> String {
        let held = self.gates.iter().filter(|gate| gate.holds).count();
        let head = format!(
            "zm check: {} | {} | {} | {held} of {} held",
            plain(&self.program),
            self.end,
            seconds(self.wall_seconds),
            self.gates.len()
        );
        let mut text = format!("{}\n", style.strong(&head));
        for gate in &self.gates {
            let word = if gate.holds { style.good("ok    ") } else { style.bad("FAILED") };
            let _ = writeln!(text, "  {word} {}", gate.sentence());
            gate.details.iter().for_each(|line| _ = writeln!(text, "           {}", plain(line)));
        }
        for line in &self.not_counted {
            let _ = writeln!(text, "{} {}", style.warning("not counted:"), plain(line));
        }
        text
    }

    /// Workflow commands of GitHub Actions: an error for each limit that was not kept, a warning for what is not counted.
    pub fn github(&self) -> String {
        let mut text = String::new();
        for gate in self.gates.iter().filter(|gate| !gate.holds) {
            let message =
                [gate.sentence()].into_iter().chain(gate.details.iter().cloned()).collect::<Vec<_>>().join("\n");
            let title = format!("zm check {}: {}", self.program, gate.what);
            let _ = writeln!(text, "::error title={}::{}", github_property(&title), github_text(&message));
        }
        for line in &self.not_counted {
            let title = format!("zm check {}: not counted", self.program);
            let _ = writeln!(text, "::warning title={}::{}", github_property(&title), github_text(line));
        }
        text
    }

    /// JUnit's XML: a suite for the program, a test for each limit, and one for the program's own end.
    pub fn junit(&self) -> Vec<u8> {
        let mut page = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_vec();
        self.write_junit(&mut Writer::new_with_indent(&mut page, b' ', 2)).expect("memory takes all");
        page.push(b'\n');
        page
    }

    fn write_junit(&self, writer: &mut Writer<&mut Vec<u8>>) -> io::Result<()> {
        let suite = xml_text(&format!("zm check {}", self.program));
        let failures = self.gates.iter().filter(|gate| !gate.holds).count() + usize::from(!self.ended_well);
        let (tests, failures) = ((self.gates.len() + 1).to_string(), failures.to_string());
        let time = format!("{:.3}", self.wall_seconds);
        let counts = [("tests", tests.as_str()), ("failures", &failures), ("errors", "0"), ("time", &time)];
        let suites = writer.create_element("testsuites").with_attributes(counts);
        suites.write_inner_content(|writer| {
            let element = writer.create_element("testsuite").with_attribute(("name", suite.as_str()));
            element.with_attributes(counts).write_inner_content(|writer| {
                let end = (!self.ended_well).then(|| format!("it ended with {}", self.end));
                case(writer, &suite, "ends well", &time, end.as_deref(), &[])?;
                for gate in &self.gates {
                    let failed = (!gate.holds).then(|| gate.sentence());
                    case(writer, &suite, &gate.name(), "0", failed.as_deref(), &gate.details)?;
                }
                if !self.not_counted.is_empty() {
                    let text = xml_text(&format!("not counted: {}", self.not_counted.join("\nnot counted: ")));
                    writer.create_element("system-err").write_text_content(BytesText::new(&text))?;
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    }
}

fn case(
    writer: &mut Writer<&mut Vec<u8>>,
    suite: &str,
    name: &str,
    time: &str,
    failure: Option<&str>,
    details: &[String],
) -> io::Result<()> {
    let element = writer.create_element("testcase");
    let element = element.with_attributes([("name", name), ("classname", suite), ("time", time)]);
    let Some(failure) = failure else {
        element.write_empty()?;
        return Ok(());
    };
    element.write_inner_content(|writer| {
        let text = xml_text(&details.join("\n"));
        let failure = xml_text(failure);
        let element =
            writer.create_element("failure").with_attributes([("message", failure.as_str()), ("type", "limit")]);
        element.write_text_content(BytesText::new(&text))?;
        Ok(())
    })?;
    Ok(())
}

/// Without the characters that XML cannot hold at all.
fn xml_text(text: &str) -> String {
    let holds = |character: char| !character.is_control() || matches!(character, '\n' | '\t');
    text.chars()
        .map(
            |character| if holds(character) && !matches!(character, '\u{fffe}' | '\u{ffff}') { character } else { '?' },
        )
        .collect()
}

fn github_text(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn github_property(text: &str) -> String {
    github_text(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::gate::Source;
    use super::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    fn example() -> Verdict {
        let details = vec!["a<b>&\"c\x1b: 100% more".to_owned(), "second, line".to_owned()];
        let failed = Gate::of("peak live", 2048, 1024, false, Source::Option("--max-peak"), details);
        Verdict {
            program: "a<b>:,%\"".to_owned(),
            end: "exit 3".to_owned(),
            ended_well: false,
            wall_seconds: 1.5,
            gates: vec![failed, Gate::of("live at exit", 7, 7, true, Source::Baseline, Vec::new())],
            not_counted: vec!["go is a Go program\x07 & more".to_owned()],
        }
    }

    #[test]
    fn the_text_reads_like_this() {
        let expected = "\
zm check: a<b>:,%\" | exit 3 | 1.50 s | 1 of 2 held
  FAILED peak live: 2.0 KiB (2,048 bytes), at most 1.0 KiB (1,024 bytes) by --max-peak
           a<b>&\"c?: 100% more
           second, line
  ok     live at exit: 7 bytes, 7 bytes in the baseline
not counted: go is a Go program? & more
";
        assert_eq!(example().text(Style { colored: false }), expected);
    }

    #[test]
    fn annotations_are_a_line_each() {
        let expected = "\
::error title=zm check a<b>%3A%2C%25\"%3A peak live::peak live: 2.0 KiB (2,048 bytes), at most 1.0 KiB (1,024 bytes) \
by --max-peak%0Aa<b>&\"c\x1b: 100%25 more%0Asecond, line
::warning title=zm check a<b>%3A%2C%25\"%3A not counted::go is a Go program\x07 & more
";
        assert_eq!(example().github(), expected);
    }

    #[test]
    fn the_xml_says_the_same_to_a_reader() {
        let page = String::from_utf8(example().junit()).unwrap();
        let mut reader = Reader::from_str(&page);
        let mut seen = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(element) | Event::Empty(element) => {
                    let name = element.name().as_ref().to_owned();
                    let attributes: Vec<String> = element
                        .attributes()
                        .map(|attribute| {
                            let attribute = attribute.unwrap();
                            let value = quick_xml::escape::unescape(&attribute.value).unwrap().into_owned();
                            format!("{}={value}", attribute.key.as_ref())
                        })
                        .collect();
                    seen.push(format!("{name} {}", attributes.join(" ")));
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(
            seen,
            [
                "testsuites tests=3 failures=2 errors=0 time=1.500",
                "testsuite name=zm check a<b>:,%\" tests=3 failures=2 errors=0 time=1.500",
                "testcase name=ends well classname=zm check a<b>:,%\" time=1.500",
                "failure message=it ended with exit 3 type=limit",
                "testcase name=peak live by --max-peak classname=zm check a<b>:,%\" time=0",
                "failure message=peak live: 2.0 KiB (2,048 bytes), at most 1.0 KiB (1,024 bytes) by --max-peak type=limit",
                "testcase name=live at exit by the baseline classname=zm check a<b>:,%\" time=0",
                "system-err ",
            ]
        );
        assert!(
            page.contains("a&lt;b&gt;&amp;\"c?: 100% more\nsecond, line")
                || page.contains("a&lt;b&gt;&amp;&quot;c?: 100% more\nsecond, line"),
            "{page}"
        );
        assert!(!page.contains('\x1b') && !page.contains('\x07'), "{page}");
    }
}
