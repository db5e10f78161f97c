//! `Reply` and the small types that say what ordinary types cannot.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::ReplyWriter;
use crate::Error;

/// Any reply, for what ordinary types do not say, and for tests.
///
/// ```
/// # use uhaha_guest::Reply;
/// let nested = Reply::Array(vec![Reply::from("cpu"), Reply::Integer(4), Reply::Null]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Double(f64),
    /// A short status such as `OK`.
    Simple(String),
    /// Any bytes.
    Bulk(Vec<u8>),
    /// Text that a client should show as it is.
    Verbatim(String),
    /// A whole number of any length, in decimal digits.
    BigNumber(String),
    /// An error; at the top it is the reply to a failed command.
    Error(String),
    /// Values in order.
    Array(Vec<Reply>),
    /// Pairs of values, in order.
    Map(Vec<(Reply, Reply)>),
    /// Different values.
    Set(Vec<Reply>),
}

impl Reply {
    /// `+OK`
    pub fn ok() -> Self {
        Reply::Simple("OK".to_owned())
    }
}

impl From<i64> for Reply {
    fn from(value: i64) -> Self {
        Reply::Integer(value)
    }
}

impl From<bool> for Reply {
    fn from(value: bool) -> Self {
        Reply::Boolean(value)
    }
}

impl From<f64> for Reply {
    fn from(value: f64) -> Self {
        Reply::Double(value)
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Reply::Bulk(text.as_bytes().to_vec())
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Reply::Bulk(text.into_bytes())
    }
}

impl From<&[u8]> for Reply {
    fn from(bytes: &[u8]) -> Self {
        Reply::Bulk(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Reply::Bulk(bytes)
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Reply::Error(error.to_string())
    }
}

impl From<Vec<Reply>> for Reply {
    fn from(values: Vec<Reply>) -> Self {
        Reply::Array(values)
    }
}

impl<T: Into<Reply>> From<Option<T>> for Reply {
    fn from(value: Option<T>) -> Self {
        value.map_or(Reply::Null, Into::into)
    }
}

/// A short status, replied as a simple string: `Status("QUEUED")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<S>(pub S);

/// The status `OK`; a command that returns `()` replies the same.
pub const OK: Status<&str> = Status("OK");

/// Text that a client should show as it is, such as a report with line breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verbatim<S>(pub S);

/// A type that is a value in a reply.
///
/// | type | RESP3 |
/// |---|---|
/// | `()`, [`Status`] | simple string |
/// | integers | integer; a big number where 64 signed bits do not hold it |
/// | `bool` | boolean |
/// | `f64`, `f32` | double |
/// | `str`, `[u8]`, `String`, `Vec<u8>`, [`Bytes`](crate::Bytes) | bulk string |
/// | `Option<T>` | the value or null |
/// | `[T]`, `Vec<T>`, tuples | array |
/// | `BTreeMap` | map |
/// | `BTreeSet` | set |
/// | [`Verbatim`] | verbatim string |
/// | [`Error`] | error |
/// | [`Reply`] | what it says |
///
/// References and boxes to all of these are replies too, so a command can reply with what it holds without a copy.
/// A `HashMap` is not: its order is nobody's decision. Implement the trait for your own types with the
/// [`ReplyWriter`].
#[diagnostic::on_unimplemented(message = "`{Self}` cannot be part of a reply")]
pub trait ToReply {
    /// Writes exactly one complete value.
    fn write(&self, reply: &mut ReplyWriter);
}

/// A type that a command can return: all of [`ToReply`], and a `Result` of it.
#[diagnostic::on_unimplemented(message = "a command cannot return `{Self}`")]
pub trait IntoReply {
    /// Writes the reply.
    ///
    /// # Errors
    /// The error that is to be the reply, when nothing was written.
    fn write_into(self, reply: &mut ReplyWriter) -> Result<(), Error>;
}

impl<T: ToReply> IntoReply for T {
    #[inline]
    fn write_into(self, reply: &mut ReplyWriter) -> Result<(), Error> {
        self.write(reply);
        Ok(())
    }
}

impl<T: ToReply, E: Into<Error>> IntoReply for Result<T, E> {
    #[inline]
    fn write_into(self, reply: &mut ReplyWriter) -> Result<(), Error> {
        match self {
            Ok(value) => {
                value.write(reply);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl ToReply for Reply {
    fn write(&self, reply: &mut ReplyWriter) {
        match self {
            Reply::Null => reply.null(),
            Reply::Boolean(value) => reply.boolean(*value),
            Reply::Integer(value) => reply.integer(*value),
            Reply::Double(value) => reply.double(*value),
            Reply::Simple(text) => reply.simple(text),
            Reply::Bulk(bytes) => reply.bulk(bytes),
            Reply::Verbatim(text) => reply.verbatim(text),
            Reply::BigNumber(digits) => reply.big_number(digits),
            Reply::Error(text) => reply.error(&Error::new(text.clone())),
            Reply::Array(values) => values.write(reply),
            Reply::Map(pairs) => {
                reply.map(pairs.len());
                for (key, value) in pairs {
                    key.write(reply);
                    value.write(reply);
                }
            }
            Reply::Set(values) => {
                reply.set(values.len());
                for value in values {
                    value.write(reply);
                }
            }
        }
    }
}

impl ToReply for () {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.simple("OK");
    }
}

impl ToReply for bool {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.boolean(*self);
    }
}

impl ToReply for f64 {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.double(*self);
    }
}

impl ToReply for f32 {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.double(f64::from(*self));
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl ToReply for $integer {
            #[inline]
            fn write(&self, reply: &mut ReplyWriter) {
                match i64::try_from(*self) {
                    Ok(value) => reply.integer(value),
                    Err(_) => reply.big_number(&self.to_string()),
                }
            }
        }
    )*};
}
// Not u8: a list of bytes is a string here.
integers!(u16 u32 u64 u128 usize i16 i32 i64 i128 isize);

impl ToReply for [u8] {
    #[inline]
    fn write(&self, reply: &mut ReplyWriter) {
        reply.bulk(self);
    }
}

impl<const N: usize> ToReply for [u8; N] {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.bulk(self);
    }
}

impl ToReply for Vec<u8> {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.bulk(self);
    }
}

impl ToReply for str {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.bulk(self.as_bytes());
    }
}

impl ToReply for String {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.bulk(self.as_bytes());
    }
}

impl ToReply for Error {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.error(self);
    }
}

impl<S: AsRef<str>> ToReply for Status<S> {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.simple(self.0.as_ref());
    }
}

impl<S: AsRef<str>> ToReply for Verbatim<S> {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.verbatim(self.0.as_ref());
    }
}

impl<T: ToReply> ToReply for Option<T> {
    #[inline]
    fn write(&self, reply: &mut ReplyWriter) {
        match self {
            Some(value) => value.write(reply),
            None => reply.null(),
        }
    }
}

impl<T: ToReply> ToReply for [T] {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.array(self.len());
        for value in self {
            value.write(reply);
        }
    }
}

impl<T: ToReply, const N: usize> ToReply for [T; N] {
    fn write(&self, reply: &mut ReplyWriter) {
        self.as_slice().write(reply);
    }
}

impl<T: ToReply> ToReply for Vec<T> {
    fn write(&self, reply: &mut ReplyWriter) {
        self.as_slice().write(reply);
    }
}

impl<K: ToReply, V: ToReply> ToReply for BTreeMap<K, V> {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.map(self.len());
        for (key, value) in self {
            key.write(reply);
            value.write(reply);
        }
    }
}

impl<T: ToReply> ToReply for BTreeSet<T> {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.set(self.len());
        for value in self {
            value.write(reply);
        }
    }
}

impl<T: ToReply + ?Sized> ToReply for &T {
    #[inline]
    fn write(&self, reply: &mut ReplyWriter) {
        (**self).write(reply);
    }
}

impl<T: ToReply + ?Sized> ToReply for Box<T> {
    fn write(&self, reply: &mut ReplyWriter) {
        (**self).write(reply);
    }
}

impl<T: ToReply + ToOwned + ?Sized> ToReply for Cow<'_, T> {
    fn write(&self, reply: &mut ReplyWriter) {
        (**self).write(reply);
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: ToReply),*> ToReply for ($($name,)*) {
            #[allow(non_snake_case, reason = "a type parameter and the value of that type share a name")]
            fn write(&self, reply: &mut ReplyWriter) {
                let ($($name,)*) = self;
                reply.array([$(stringify!($name)),*].len());
                $($name.write(reply);)*
            }
        }
    };
}
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
