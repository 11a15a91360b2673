//! Variables of the environment that say which rank a process is, and the numbers in them, within their bounds.

use super::env::LaunchError;

/// Every rank holds something of every other one.
pub(super) fn check_world_size(variable: &'static str, size: usize) -> Result<(), LaunchError> {
    if size <= MAX_WORLD_SIZE {
        return Ok(());
    }
    Err(invalid(variable, &size.to_string(), "at most 65536 ranks"))
}

pub(super) fn below(
    variable: &'static str,
    value: usize,
    limit_variable: &'static str,
    limit: usize,
) -> Result<(), LaunchError> {
    if value < limit {
        return Ok(());
    }
    Err(LaunchError::NotBelow {
        variable,
        value,
        limit_variable,
        limit,
    })
}

/// Far beyond what trains together.
const MAX_WORLD_SIZE: usize = 65_536;

pub(super) fn parse_number(variable: &'static str, value: &str) -> Result<usize, LaunchError> {
    let number = value.trim().parse();
    number.map_err(|_| invalid(variable, value, "a number from 0"))
}

pub(super) fn parse_port(variable: &'static str, value: String) -> Result<u16, LaunchError> {
    match value.trim().parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(LaunchError::Invalid {
            variable,
            value,
            expected: "a port from 1 to 65535",
        }),
    }
}

pub(super) fn invalid(variable: &'static str, value: &str, expected: &'static str) -> LaunchError {
    LaunchError::Invalid {
        variable,
        value: value.to_owned(),
        expected,
    }
}

/// Where the variables come from. An empty value counts as unset where a variable may be missing; one that says which
/// rank this is must have a value, or not be there: a process that takes itself to be alone trains beside the others.
pub(super) struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl<'a> Variables<'a> {
    /// Looks each up with `find`.
    pub(super) fn new(find: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self(find)
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    pub(super) fn first_of(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.get(name).is_some())
    }

    /// The first that is there, be it empty.
    pub(super) fn first_set(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| (self.0)(name).is_some())
    }

    pub(super) fn required(
        &self,
        missing: &'static str,
        present: &'static str,
    ) -> Result<String, LaunchError> {
        match (self.0)(missing) {
            Some(value) if value.trim().is_empty() => {
                Err(invalid(missing, &value, "a value, or the variable unset"))
            }
            Some(value) => Ok(value),
            None => Err(LaunchError::Missing { present, missing }),
        }
    }

    pub(super) fn number(
        &self,
        name: &'static str,
        present: &'static str,
    ) -> Result<usize, LaunchError> {
        parse_number(name, &self.required(name, present)?)
    }
}
