//! `Address`: where to listen or what to advertise, as it is typed.

use super::Error;
use std::fmt;
use std::str::FromStr;

/// `host:port`, `[ipv6]:port`, or `:port` for every interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Without brackets; empty for every interface.
    host: String,
    port: u16,
}

impl Address {
    pub fn new(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it names no host that another machine could call.
    pub fn is_everywhere(&self) -> bool {
        matches!(self.host.as_str(), "" | "0.0.0.0" | "::")
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address, Error> {
        let wrong = || Error::Address(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        // A sign would parse, but nobody means it.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.strip_suffix(']').ok_or_else(wrong)?,
            // An IPv6 address without brackets: nobody can tell where its port begins.
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        if host.bytes().any(|byte| byte.is_ascii_whitespace() || byte == b'/' || byte == b'@') {
            return Err(wrong());
        }
        Ok(Address { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_usual_forms() {
        for (text, host, port) in [
            ("127.0.0.1:11001", "127.0.0.1", 11001),
            (":11001", "", 11001),
            ("[::1]:11001", "::1", 11001),
            ("[::]:0", "::", 0),
            ("localhost:65535", "localhost", 65535),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_has_no_clear_port_or_host() {
        for text in
            ["", "localhost", "11001", "::1:11001", "a:b", "a:65536", "a:-1", "a:+1", "[::1:1", "a b:1", "http://a:1"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
