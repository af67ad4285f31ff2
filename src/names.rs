//! Options that have names: the same spelling in the command, in JSON and in messages.

/// Gives an enum its names: `name`, `ALL`, `Display`, `FromStr` (in any case, `_` for `-`) with an error that lists
/// the names, and serde's traits with the feature `serde`.
macro_rules! named {
    ($type:ident, $option:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// Its name on the command line, in JSON and in messages.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::error::Error;

            /// Reads a name, in any case and with `_` or `-`.
            fn from_str(text: &str) -> Result<$type, Self::Err> {
                $crate::names::find($type::ALL, |value| value.name(), $option, text)
            }
        }

        $crate::names::serialized_as_name!($type);
    };
}

/// serde's traits by `Display` and `FromStr`.
macro_rules! serialized_as_name {
    ($type:ident) => {
        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use {named, serialized_as_name};

use crate::error::{Error, RequestError};

/// The value of this name, or an error that lists the names.
pub(crate) fn find<T: Copy>(
    all: &[T],
    name: impl Fn(T) -> &'static str,
    option: &'static str,
    text: &str,
) -> Result<T, Error> {
    let wanted = text.to_ascii_lowercase().replace('_', "-");
    let found = all.iter().copied().find(|&value| name(value).replace('_', "-") == wanted);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|&value| name(value)).collect();
        let (found, expected) = (format!("`{text}`"), names.join(", "));
        RequestError::InvalidOption { option, found, expected }.into()
    })
}
