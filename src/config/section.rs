//! The `section!` macro: one declaration gives a config struct, its defaults, its decoder and its group rules.

/// Declares one section of the configuration.
///
/// A field without `= default` is required. After the struct come the group rules, each naming optional fields:
/// `exactly_one "group": a, b;` or `at_most_one "group": a, b;`.
macro_rules! section {
    (
        $(#[doc = $sdoc:expr])+
        pub struct $name:ident {
            $( $(#[doc = $fdoc:expr])+ pub $field:ident : $ty:ty $(= $default:expr)? , )*
        }
        $( exactly_one $one:literal : $($one_member:ident),+ ; )*
        $( at_most_one $most:literal : $($most_member:ident),+ ; )*
    ) => {
        $(#[doc = $sdoc])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $name { $( $(#[doc = $fdoc])+ pub $field: $ty, )* }

        impl $crate::config::decode::Decode for $name {
            fn decode(value: &serde_yaml::Value, path: &str) -> Result<Self, String> {
                let map = $crate::config::decode::Keys::of(value, path, &[$(stringify!($field)),*])?;
                $( map.exactly_one($one, &[$(stringify!($one_member)),+])?; )*
                $( map.at_most_one($most, &[$(stringify!($most_member)),+])?; )*
                Ok($name { $( $field: section!(@field map, $field $(, $default)?), )* })
            }
        }
    };
    (@field $map:ident, $field:ident) => { $map.required(stringify!($field))? };
    (@field $map:ident, $field:ident, $default:expr) => {
        match $map.optional(stringify!($field))? { Some(value) => value, None => $default }
    };
}

/// Declares an enum of config strings.
macro_rules! choice {
    (
        $(#[doc = $edoc:expr])+
        pub enum $name:ident { $( $(#[doc = $vdoc:expr])+ $variant:ident = $text:literal , )+ }
    ) => {
        $(#[doc = $edoc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub enum $name { $( $(#[doc = $vdoc])+ #[serde(rename = $text)] $variant, )+ }

        impl $crate::config::decode::Decode for $name {
            fn decode(value: &serde_yaml::Value, path: &str) -> Result<Self, String> {
                match value.as_str() {
                    $( Some($text) => Ok(Self::$variant), )+
                    _ => Err(format!("{path}: expected one of {:?}", [$($text),+])),
                }
            }
        }
    };
}
