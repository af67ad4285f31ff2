//! Values of options, read by the library.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::str::FromStr;

/// Reads a name with the library's own parser and message.
pub(super) fn parse<T: FromStr<Err = taskvec::Error>>(name: &str) -> Result<T, String> {
    name.parse().map_err(|error: taskvec::Error| error.to_string())
}

/// One of a few names, which the help lists.
pub(super) fn named<T: Copy + FromStr<Err = taskvec::Error> + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|&value| name(value))).try_map(|name| parse::<T>(&name))
}
