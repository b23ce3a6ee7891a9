//! What is compared: an allocator, and variables that tune it.

use crate::backend::Backend;
use crate::compare::arguments::Compare;
use crate::error::Error;
use crate::run::Change;
use std::ffi::OsString;
use std::str::FromStr;

/// One line of the comparison.
#[derive(Debug)]
pub struct Row {
    /// What it is called.
    pub name: String,
    /// The allocator.
    pub backend: Backend,
    /// Variables of its environment.
    pub variables: Vec<(String, String)>,
    /// Whether the ledger is preloaded.
    pub is_counted: bool,
}

/// A row as it is asked for: `NAME=[BACKEND] VARIABLE=VALUE ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunables {
    name: String,
    backend: Option<String>,
    variables: Vec<(String, String)>,
}

/// The row that all are compared with: the program's own allocator, counted as the others are.
pub const OWN: usize = 1;

impl FromStr for Tunables {
    type Err = String;

    fn from_str(text: &str) -> Result<Tunables, String> {
        let form = "it has to be 'NAME=[BACKEND] VARIABLE=VALUE ...'";
        let (name, rest) = text.split_once('=').ok_or(form)?;
        let name = name.trim();
        if name.is_empty() {
            return Err(format!("the row has no name: {form}"));
        }
        let mut row = Tunables { name: name.to_owned(), backend: None, variables: Vec::new() };
        for word in rest.split_whitespace() {
            match word.split_once('=') {
                Some(("", _)) => return Err(format!("`{word}` sets no variable: {form}")),
                Some((variable, value)) => row.variables.push((variable.to_owned(), value.to_owned())),
                None if row.backend.is_none() && row.variables.is_empty() => row.backend = Some(word.to_owned()),
                None => return Err(format!("`{word}` is no VARIABLE=VALUE: {form}")),
            }
        }
        if row.backend.is_none() && row.variables.is_empty() {
            return Err(format!("the row `{name}` is the program as it is: {form}"));
        }
        Ok(row)
    }
}

impl Row {
    fn of(backend: Backend) -> Row {
        Row { name: backend.name.to_owned(), backend, variables: Vec::new(), is_counted: true }
    }

    /// What its environment gets.
    pub fn changes(&self) -> Vec<Change> {
        let changes = self.variables.iter().flat_map(|(variable, value)| {
            // A jemalloc that is built in has its crate's prefix.
            let prefixed = (variable == "MALLOC_CONF" && self.backend.is_built_in())
                .then(|| ("_RJEM_MALLOC_CONF".to_owned(), value.clone()));
            [(variable.clone(), value.clone())].into_iter().chain(prefixed)
        });
        changes.map(|(variable, value)| (variable.into(), Some(OsString::from(value)))).collect()
    }
}

/// The rows: bare, own, the allocators, and those asked for. `own` is the allocator that the program has anyway: it
/// would be the same row again, unless it is named.
pub fn rows(arguments: &Compare, own: &str) -> Result<Vec<Row>, Error> {
    let find = |name: &str| Backend::find(name).map_err(Error::Backend);
    let mut rows = vec![
        Row { name: "bare".to_owned(), is_counted: false, ..Row::of(find("forward")?) },
        Row { name: "own".to_owned(), ..Row::of(find("forward")?) },
    ];
    if arguments.backend.is_empty() {
        let others = Backend::all_here().into_iter().filter(|backend| backend.name != "forward" && backend.name != own);
        rows.extend(others.map(Row::of));
    } else {
        for name in arguments.backend.iter().filter(|name| *name != "forward") {
            rows.push(Row::of(find(name)?));
        }
    }
    for asked in &arguments.row {
        let backend = find(asked.backend.as_deref().unwrap_or("forward"))?;
        rows.push(Row { name: asked.name.clone(), variables: asked.variables.clone(), ..Row::of(backend) });
    }
    for (index, row) in rows.iter().enumerate() {
        if rows[..index].iter().any(|earlier| earlier.name == row.name) {
            return Err(Error::Unfit(format!("there are two rows `{}`: give each a name of its own", row.name)));
        }
    }
    if rows.len() == OWN + 1 {
        return Err(Error::Unfit(
            "there is no other allocator here to compare with: install one (Debian: libjemalloc2, \
             libtcmalloc-minimal4, libmimalloc2.0), or name a --row"
                .to_owned(),
        ));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let row: Tunables = "je narrow=jemalloc MALLOC_CONF=narenas:1,a:b X=".parse().unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!((row.name.as_str(), row.backend.as_deref()), ("je narrow", Some("jemalloc")));
        assert_eq!(row.variables, [pair("MALLOC_CONF", "narenas:1,a:b"), pair("X", "")]);
        let row: Tunables = "a=MALLOC_ARENA_MAX=2".parse().unwrap();
        assert_eq!((row.backend, row.variables), (None, vec![pair("MALLOC_ARENA_MAX", "2")]));
        for wrong in ["", "name", "=A=1", "a=", "a=A=1 jemalloc", "a=jemalloc libc", "a==1"] {
            assert!(wrong.parse::<Tunables>().is_err(), "{wrong}");
        }
    }
}
