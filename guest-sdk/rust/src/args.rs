//! The arguments of a command, and the types that they can be taken as.

use std::ops::Deref;

use crate::{ArgumentType, Error};

/// The arguments that are left, as a cursor.
///
/// As a command's last parameter it takes all arguments that the parameters before it did not, for a syntax of the
/// command's own:
///
/// ```
/// # use uhaha_guest::prelude::*;
/// fn options(mut args: Args<'_>) -> Result<(Option<u64>, bool), Error> {
///     let (mut seconds, mut quiet) = (None, false);
///     while !args.is_empty() {
///         if args.token("EX") {
///             seconds = Some(args.value()?);
///         } else if args.token("QUIET") {
///             quiet = true;
///         } else {
///             return Err(Error::SYNTAX);
///         }
///     }
///     Ok((seconds, quiet))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Args<'a> {
    command: &'static str,
    count: u32,
    /// `count` × { length, bytes }: as they come in a batch, so that nothing is built for a command.
    bytes: &'a [u8],
}

impl<'a> Args<'a> {
    pub(crate) fn new(command: &'static str, count: u32, bytes: &'a [u8]) -> Self {
        Args { command, count, bytes }
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The next one, which stays there.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.clone().next()
    }

    /// Takes the next argument if it is this word, in any case.
    pub fn token(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            self.next();
        }
        found
    }

    /// Takes the next argument as a value.
    ///
    /// # Errors
    /// [`Error::SYNTAX`] when none is left, or that of the type.
    pub fn value<T: FromArg<'a>>(&mut self) -> Result<T, Error> {
        T::from_arg(self.next().ok_or(Error::SYNTAX)?)
    }

    /// Says that nothing more is expected.
    ///
    /// # Errors
    /// The wrong number of arguments, when some are left.
    pub fn finish(&self) -> Result<(), Error> {
        if self.is_empty() { Ok(()) } else { Err(self.wrong_number()) }
    }

    /// The error of this command for too few or too many arguments.
    #[cold]
    pub fn wrong_number(&self) -> Error {
        Error::wrong_number_of_arguments(self.command)
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        let (length, bytes) = self.bytes.split_first_chunk()?;
        let (arg, bytes) = bytes.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.bytes = bytes;
        Some(arg)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

/// A type that one argument can be taken as.
///
/// Here for `&[u8]`, `Vec<u8>`, [`Bytes`](crate::Bytes), `&str`, `String`, `f64`, all integers of 16 to 64 bits and
/// [`Key`]. Implement it for your own types.
#[diagnostic::on_unimplemented(message = "`{Self}` cannot be taken from an argument")]
pub trait FromArg<'a>: Sized {
    /// What is declared of it.
    const TYPE: ArgumentType = ArgumentType::Text;

    /// Reads one argument, which may be any bytes.
    ///
    /// # Errors
    /// What the client is told when the bytes do not fit.
    fn from_arg(arg: &'a [u8]) -> Result<Self, Error>;
}

impl<'a> FromArg<'a> for &'a [u8] {
    #[inline]
    fn from_arg(arg: &'a [u8]) -> Result<Self, Error> {
        Ok(arg)
    }
}

impl FromArg<'_> for Vec<u8> {
    fn from_arg(arg: &[u8]) -> Result<Self, Error> {
        Ok(arg.to_vec())
    }
}

impl<'a> FromArg<'a> for &'a str {
    #[inline]
    fn from_arg(arg: &'a [u8]) -> Result<Self, Error> {
        Ok(std::str::from_utf8(arg)?)
    }
}

impl FromArg<'_> for String {
    fn from_arg(arg: &[u8]) -> Result<Self, Error> {
        Ok(std::str::from_utf8(arg)?.to_owned())
    }
}

impl FromArg<'_> for f64 {
    const TYPE: ArgumentType = ArgumentType::Double;

    /// NaN is refused, as in Redis: it has no place in an order and is not equal to itself.
    fn from_arg(arg: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(arg).map_err(|_| Error::NOT_A_FLOAT)?;
        let value: f64 = text.parse()?;
        if value.is_nan() { Err(Error::NOT_A_FLOAT) } else { Ok(value) }
    }
}

/// The number as Redis reads one: digits with an optional `-`, no `+`, no leading zeros, no spaces.
fn parse_integer(arg: &[u8]) -> Option<i128> {
    let (negative, digits) = match arg {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        b"0" => return (!negative).then_some(0),
        // The longest that fits 64 bits has 20.
        [b'1'..=b'9', ..] if digits.len() <= 20 => {}
        _ => return None,
    }
    let mut value = 0i128;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i128::from(byte - b'0');
    }
    Some(if negative { -value } else { value })
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl FromArg<'_> for $integer {
            const TYPE: ArgumentType = ArgumentType::Integer;

            fn from_arg(arg: &[u8]) -> Result<Self, Error> {
                let value = parse_integer(arg).ok_or(Error::NOT_AN_INTEGER)?;
                Ok(<$integer>::try_from(value)?)
            }
        }
    )*};
}
// Not u8: a list of bytes is a string here.
integers!(u16 u32 u64 usize i16 i32 i64 isize);

/// An argument that is a key, for `COMMAND GETKEYS` and for clients that route by key.
///
/// The attribute `#[key]` on a parameter of any other type declares the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a>(pub &'a [u8]);

impl<'a> FromArg<'a> for Key<'a> {
    const TYPE: ArgumentType = ArgumentType::Key;

    #[inline]
    fn from_arg(arg: &'a [u8]) -> Result<Self, Error> {
        Ok(Key(arg))
    }
}

impl Deref for Key<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

/// The arguments that are left, as values; there may be none. [`Vec`] wants at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest<T>(pub Vec<T>);

impl<T> Deref for Rest<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for Rest<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A type that a parameter of a command can have: one argument ([`FromArg`]) or several.
///
/// | parameter | in hints | takes |
/// |---|---|---|
/// | `x: T` | `x` | one |
/// | `x: Option<T>` | `[x]` | one, if there is one left |
/// | `x: Vec<T>`, `x: &[T]` | `x [x ...]` | all that are left, at least one |
/// | `x: Rest<T>`, `x: Args<'_>` | `[x ...]` | all that are left |
#[diagnostic::on_unimplemented(message = "`{Self}` cannot be the parameter of a command")]
pub trait FromArgs<'a>: Sized {
    /// What is declared of it.
    const TYPE: ArgumentType;
    /// Whether it can be left out.
    const OPTIONAL: bool;
    /// Whether it takes all that are left.
    const MULTIPLE: bool;

    /// Takes what it needs.
    ///
    /// # Errors
    /// That there are too few arguments, or that one does not fit.
    fn from_args(args: &mut Args<'a>) -> Result<Self, Error>;
}

impl<'a, T: FromArg<'a>> FromArgs<'a> for T {
    const TYPE: ArgumentType = T::TYPE;
    const OPTIONAL: bool = false;
    const MULTIPLE: bool = false;

    #[inline]
    fn from_args(args: &mut Args<'a>) -> Result<Self, Error> {
        match args.next() {
            Some(arg) => T::from_arg(arg),
            None => Err(args.wrong_number()),
        }
    }
}

impl<'a, T: FromArg<'a>> FromArgs<'a> for Option<T> {
    const TYPE: ArgumentType = T::TYPE;
    const OPTIONAL: bool = true;
    const MULTIPLE: bool = false;

    fn from_args(args: &mut Args<'a>) -> Result<Self, Error> {
        args.next().map(T::from_arg).transpose()
    }
}

impl<'a, T: FromArg<'a>> FromArgs<'a> for Vec<T> {
    const TYPE: ArgumentType = T::TYPE;
    const OPTIONAL: bool = false;
    const MULTIPLE: bool = true;

    fn from_args(args: &mut Args<'a>) -> Result<Self, Error> {
        if args.is_empty() { Err(args.wrong_number()) } else { args.map(T::from_arg).collect() }
    }
}

impl<'a, T: FromArg<'a>> FromArgs<'a> for Rest<T> {
    const TYPE: ArgumentType = T::TYPE;
    const OPTIONAL: bool = true;
    const MULTIPLE: bool = true;

    fn from_args(args: &mut Args<'a>) -> Result<Self, Error> {
        Ok(Rest(args.map(T::from_arg).collect::<Result<_, _>>()?))
    }
}

impl<'a> FromArgs<'a> for Args<'a> {
    const TYPE: ArgumentType = ArgumentType::Text;
    const OPTIONAL: bool = true;
    const MULTIPLE: bool = true;

    fn from_args(args: &mut Args<'a>) -> Result<Self, Error> {
        let rest = args.clone();
        args.count = 0;
        Ok(rest)
    }
}

/// A type that a parameter with `#[token = "..."]` can have: `Option<T>` for a word and a value, such as
/// `[EX seconds]`, and `bool` for a word alone, such as `[NX]`.
#[diagnostic::on_unimplemented(message = "a parameter with `#[token]` is an `Option` or a `bool`, not `{Self}`")]
pub trait FromToken<'a>: Sized {
    /// What is declared of the value.
    const TYPE: ArgumentType;
    /// Whether a value follows the word.
    const HAS_VALUE: bool;

    /// What it is without the word.
    fn absent() -> Self;

    /// Takes the value after the word.
    ///
    /// # Errors
    /// That there is none, or that it does not fit.
    fn present(args: &mut Args<'a>) -> Result<Self, Error>;
}

impl<'a, T: FromArg<'a>> FromToken<'a> for Option<T> {
    const TYPE: ArgumentType = T::TYPE;
    const HAS_VALUE: bool = true;

    fn absent() -> Self {
        None
    }

    fn present(args: &mut Args<'a>) -> Result<Self, Error> {
        args.value().map(Some)
    }
}

impl FromToken<'_> for bool {
    const TYPE: ArgumentType = ArgumentType::Text;
    const HAS_VALUE: bool = false;

    fn absent() -> Self {
        false
    }

    fn present(_: &mut Args<'_>) -> Result<Self, Error> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_redis_reads_them() {
        for (text, want) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("99999999999999999999", None),
            ("100000000000000000000000000000000000000000", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            (" 1", None),
            ("1 ", None),
            ("1x", None),
        ] {
            assert_eq!(i64::from_arg(text.as_bytes()).ok(), want, "{text:?}");
        }
        assert_eq!(u64::from_arg(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(u64::from_arg(b"18446744073709551616"), Err(Error::NOT_AN_INTEGER));
        assert_eq!(u64::from_arg(b"-1"), Err(Error::NOT_AN_INTEGER));
        assert_eq!(u16::from_arg(b"65536"), Err(Error::NOT_AN_INTEGER));
        assert_eq!(i32::from_arg(b"\xff\xfe"), Err(Error::NOT_AN_INTEGER));
    }

    #[test]
    fn floats_are_numbers_or_infinite() {
        assert_eq!(f64::from_arg(b"1.5"), Ok(1.5));
        assert_eq!(f64::from_arg(b"-1e3"), Ok(-1000.0));
        assert_eq!(f64::from_arg(b"-inf"), Ok(f64::NEG_INFINITY));
        for text in ["", "nan", "NaN", "1.5x", " 1", "0x1"] {
            assert_eq!(f64::from_arg(text.as_bytes()), Err(Error::NOT_A_FLOAT), "{text:?}");
        }
        assert_eq!(f64::from_arg(b"\xff"), Err(Error::NOT_A_FLOAT));
    }

    #[test]
    fn text_is_utf8() {
        assert_eq!(<&str>::from_arg("ä".as_bytes()), Ok("ä"));
        assert_eq!(<&str>::from_arg(b"\xc3"), Err(Error::NOT_UTF8));
        assert_eq!(String::from_arg(b"\xff"), Err(Error::NOT_UTF8));
    }

    #[test]
    fn a_truncated_list_ends_early() {
        let mut args = Args::new("X", 2, &[1, 0, 0, 0, b'a', 9, 0, 0, 0, b'b']);
        assert_eq!(args.next(), Some(&b"a"[..]));
        assert_eq!(args.next(), None);
    }
}
