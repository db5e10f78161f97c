//! The errors that a command replies with.

use std::borrow::Cow;
use std::fmt;

/// An error reply: `CODE message`, as in Redis.
///
/// The first word is the code when it is upper case (`A` to `Z`, digits and `_`); otherwise the client gets `ERR`
/// before the text. What the command did before it returned the error stays done.
///
/// ```
/// # use uhaha_guest::Error;
/// fn withdraw(balance: &mut u64, amount: u64) -> Result<u64, Error> {
///     *balance = balance.checked_sub(amount).ok_or("insufficient funds")?;
///     Ok(*balance)
/// }
/// assert_eq!(withdraw(&mut 1, 2).unwrap_err().to_string(), "ERR insufficient funds");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Cow<'static, str>);

impl Error {
    /// `ERR syntax error`
    pub const SYNTAX: Error = Error(Cow::Borrowed("ERR syntax error"));
    /// `ERR value is not an integer or out of range`
    pub const NOT_AN_INTEGER: Error = Error(Cow::Borrowed("ERR value is not an integer or out of range"));
    /// `ERR value is not a valid float`
    pub const NOT_A_FLOAT: Error = Error(Cow::Borrowed("ERR value is not a valid float"));
    /// `ERR value is not valid UTF-8`
    pub const NOT_UTF8: Error = Error(Cow::Borrowed("ERR value is not valid UTF-8"));

    /// An error with this text.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        if has_code(&text) { Error(text) } else { Error(Cow::Owned(format!("ERR {text}"))) }
    }

    /// The error of a command that got too few or too many arguments.
    pub fn wrong_number_of_arguments(command: &str) -> Self {
        let command = command.to_ascii_lowercase();
        Error(Cow::Owned(format!("ERR wrong number of arguments for '{command}' command")))
    }

    /// The whole text, with its code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the first word is an error code. The server uses the same rule.
fn has_code(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or_default().as_bytes();
    word.first().is_some_and(u8::is_ascii_uppercase)
        && word.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<&'static str> for Error {
    fn from(text: &'static str) -> Self {
        Error::new(text)
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Error::new(text)
    }
}

impl From<std::num::ParseIntError> for Error {
    fn from(_: std::num::ParseIntError) -> Self {
        Error::NOT_AN_INTEGER
    }
}

impl From<std::num::TryFromIntError> for Error {
    fn from(_: std::num::TryFromIntError) -> Self {
        Error::NOT_AN_INTEGER
    }
}

impl From<std::num::ParseFloatError> for Error {
    fn from(_: std::num::ParseFloatError) -> Self {
        Error::NOT_A_FLOAT
    }
}

impl From<std::str::Utf8Error> for Error {
    fn from(_: std::str::Utf8Error) -> Self {
        Error::NOT_UTF8
    }
}

impl From<std::string::FromUtf8Error> for Error {
    fn from(_: std::string::FromUtf8Error) -> Self {
        Error::NOT_UTF8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_code_gets_err() {
        for (text, want) in [
            ("no such thing", "ERR no such thing"),
            ("WRONGTYPE not a list", "WRONGTYPE not a list"),
            ("NOAUTH", "NOAUTH"),
            ("A2_B c", "A2_B c"),
            ("2A b", "ERR 2A b"),
            ("Not yet", "ERR Not yet"),
            ("ERR: x", "ERR ERR: x"),
            ("", "ERR "),
            (" ERR x", "ERR  ERR x"),
        ] {
            assert_eq!(Error::new(text).as_str(), want, "{text:?}");
        }
    }
}
