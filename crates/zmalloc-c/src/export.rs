//! The names of the symbols.

/// A function's symbol: its name, after the prefix that the build was given.
macro_rules! symbol {
    ($name:literal) => {
        concat!(env!("ZMALLOC_SYMBOL_PREFIX"), $name)
    };
}
