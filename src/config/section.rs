//! The `section!` macro: one declaration gives a config struct, its defaults, its decoder, its rules and its reference.

/// Declares one section of the configuration.
///
/// A field without `= default` is required. After the struct come the rules:
/// `exactly_one "group": a, b;` and `at_most_one "group": a, b;` name optional fields, `at_least a: 0.0;` bounds a
/// number, `rule name;` calls `fn name(&Keys, &mut Decoder)` for what only code can say. `scalars Written;` keeps names
/// as they were written in a document of this type.
macro_rules! section {
    (
        $(#[doc = $sdoc:literal])+
        pub struct $name:ident {
            $( $(#[doc = $fdoc:literal])+ pub $field:ident : $ty:ty $(= $default:expr)? , )*
        }
        $( exactly_one $one:literal : $($one_member:ident),+ ; )*
        $( at_most_one $most:literal : $($most_member:ident),+ ; )*
        $( at_least $bounded:ident : $least:literal ; )*
        $( rule $rule:path ; )*
        $( scalars $scalars:ident ; )?
    ) => {
        $(#[doc = $sdoc])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $name { $( $(#[doc = $fdoc])+ pub $field: $ty, )* }

        impl $crate::config::decode::Decode for $name {
            $( const SCALARS: $crate::config::node::Scalars = $crate::config::node::Scalars::$scalars; )?

            fn decode(node: &$crate::config::node::Node, at: &mut $crate::config::decode::Decoder) -> Self {
                #[allow(unused_variables, reason = "a section may have neither keys nor rules")]
                let Some(keys) = at.section(node, &[$(stringify!($field)),*], Self::section_shape) else {
                    return Self::placeholder();
                };
                $( keys.exactly_one(at, &[$(stringify!($one_member)),+]); )*
                $( keys.at_most_one(at, &[$(stringify!($most_member)),+]); )*
                $( $rule(&keys, at); )*
                let section = Self { $( $field: section!(@field keys, at, $field $(, $default)?), )* };
                $( keys.at_least(at, stringify!($bounded), section.$bounded, $least); )*
                section
            }

            fn placeholder() -> Self {
                Self { $( $field: section!(@placeholder $ty $(, $default)?), )* }
            }

            fn shape() -> $crate::config::schema::Shape {
                $crate::config::schema::Shape::Section(Self::section_shape)
            }
        }

        impl $name {
            fn section_shape() -> $crate::config::schema::SectionShape {
                $crate::config::schema::SectionShape {
                    name: stringify!($name),
                    doc: concat!($($sdoc),+),
                    fields: vec![$( $crate::config::schema::Field {
                        name: stringify!($field),
                        doc: concat!($($fdoc),+),
                        shape: <$ty as $crate::config::decode::Decode>::shape(),
                        default: section!(@default $ty $(, $default)?),
                    } ),*],
                    rules: vec![
                        $( format!("exactly one of {} (group `{}`)", [$(stringify!($one_member)),+].join(", "), $one), )*
                        $( format!("at most one of {} (group `{}`)", [$(stringify!($most_member)),+].join(", "), $most), )*
                    ],
                }
            }
        }
    };
    (@field $keys:ident, $at:ident, $field:ident) => { $keys.required($at, stringify!($field)) };
    (@field $keys:ident, $at:ident, $field:ident, $default:expr) => {
        $keys.optional($at, stringify!($field), || $default)
    };
    (@placeholder $ty:ty) => { <$ty as $crate::config::decode::Decode>::placeholder() };
    (@placeholder $ty:ty, $default:expr) => { $default };
    (@default $ty:ty) => { None };
    (@default $ty:ty, $default:expr) => {{
        let default: $ty = $default;
        Some($crate::config::schema::default_text(&default))
    }};
}

/// Declares an enum of config strings.
macro_rules! choice {
    (
        $(#[doc = $edoc:expr])+
        pub enum $name:ident {
            $(#[doc = $first_doc:expr])+ $first:ident = $first_text:literal ,
            $( $(#[doc = $vdoc:expr])+ $variant:ident = $text:literal , )*
        }
    ) => {
        $(#[doc = $edoc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub enum $name {
            $(#[doc = $first_doc])+ #[serde(rename = $first_text)] $first,
            $( $(#[doc = $vdoc])+ #[serde(rename = $text)] $variant, )*
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(node: &$crate::config::node::Node, at: &mut $crate::config::decode::Decoder) -> Self {
                const EXPECTED: &str = concat!("one of ", $first_text, $(", ", $text),*);
                let variants = [Self::$first, $(Self::$variant),*];
                variants[$crate::config::coerce::choice(node, at, &[$first_text, $($text),*], EXPECTED)]
            }

            fn placeholder() -> Self { Self::$first }

            fn shape() -> $crate::config::schema::Shape {
                $crate::config::schema::Shape::Scalar(concat!("one of ", $first_text, $(", ", $text),*))
            }
        }
    };
}
