//! Where figures go that somebody named a file for.

mod file;

pub use file::Export;

use crate::error::Error;
use std::io;
use std::path::Path;

/// A named place, proven to be writable before anything runs.
pub struct Destination<'run> {
    path: &'run Path,
    export: Export,
}

impl Destination<'_> {
    /// Opens what a path names.
    pub fn open(path: &Path) -> Result<Destination<'_>, Error> {
        if path.as_os_str() == "-" {
            return Err(Error::ExportToStdout);
        }
        let export = Export::create(path).map_err(|error| match error.kind() {
            // Made by ourselves, for another output.
            io::ErrorKind::AlreadyExists => Error::OneFile(path.to_owned()),
            _ => Error::Export(path.to_owned(), error),
        })?;
        Ok(Destination { path, export })
    }

    /// Writes all of it.
    pub fn write(self, text: &[u8]) -> Result<(), Error> {
        self.export.finish(text).map_err(|error| Error::Export(self.path.to_owned(), error))
    }
}

/// How figures are put into a form.
pub type Form<Figures> = fn(&Figures) -> Vec<u8>;

/// Outputs, each opened before the work and written after it.
pub struct Outputs<'run, Figures>(Vec<(Destination<'run>, Form<Figures>)>);

impl<'run, Figures> Outputs<'run, Figures> {
    /// Opens those that are asked for; each with how it is written.
    pub fn open<const N: usize>(
        wanted: [(Option<&'run Path>, Form<Figures>); N],
    ) -> Result<Outputs<'run, Figures>, Error> {
        let wanted = wanted.into_iter().filter_map(|(path, write)| Some((path?, write)));
        wanted.map(|(path, write)| Ok((Destination::open(path)?, write))).collect::<Result<_, _>>().map(Outputs)
    }

    /// Writes them all, and says what went wrong first.
    pub fn write(self, figures: &Figures) -> Result<(), Error> {
        let mut written = Ok(());
        for (destination, write) in self.0 {
            written = written.and(destination.write(&write(figures)));
        }
        written
    }
}

/// As JSON, indented and ended by a line end.
pub fn json<Figures: serde::Serialize>(figures: &Figures) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(figures).expect("figures are plain data");
    text.push(b'\n');
    text
}

/// A cell of a Markdown table: nothing in it ends the cell, or is more than text.
pub fn markdown_cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '~' | '#' | '&' => cell.extend(['\\', character]),
            control if control.is_control() => cell.push(' '),
            other => cell.push(other),
        }
    }
    cell
}

/// A Markdown table: the first column is text, the others are numbers.
pub fn markdown_table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|:---|{}\n", head.join(" | "), "---:|".repeat(head.len() - 1));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| markdown_cell(cell)).collect();
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_cell_ends_it() {
        let table = markdown_table(&["a", "b"], [vec!["x|y\n".to_owned(), "<b>".to_owned()]]);
        assert_eq!(table, "| a | b |\n|:---|---:|\n| x\\|y  | \\<b\\> |\n");
    }
}
