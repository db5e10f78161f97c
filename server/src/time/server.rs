//! `ServerName`: an NTP server as it is typed.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

const NTP_PORT: u16 = 123;

/// `host`, `host:port`, `[ipv6]` or `[ipv6]:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName {
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an NTP server: expected HOST, HOST:PORT or [IPV6]:PORT")]
pub struct WrongServer(String);

impl FromStr for ServerName {
    type Err = WrongServer;

    fn from_str(text: &str) -> Result<ServerName, WrongServer> {
        let wrong = || WrongServer(text.to_owned());
        let (host, port) = match text.rsplit_once(':') {
            _ if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => NTP_PORT,
            // A sign would parse, but nobody means it.
            Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => return Err(wrong()),
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let is_name =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if is_name && bracketed.is_none() || host.parse::<Ipv6Addr>().is_ok() {
            Ok(ServerName { host: host.to_owned(), port })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for ServerName {
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
    fn the_port_may_be_left_out() {
        for (text, shown) in [
            ("pool.ntp.org", "pool.ntp.org:123"),
            ("10.0.0.1:1123", "10.0.0.1:1123"),
            ("::1", "[::1]:123"),
            ("[::1]", "[::1]:123"),
            ("[::1]:99", "[::1]:99"),
        ] {
            assert_eq!(text.parse::<ServerName>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for text in ["", ":123", "a:", "a:0", "a:b", "a:+1", "a:65536", "[a]", "[::1", "a b", "http://a", "::1:x", "[]"]
        {
            assert_eq!(text.parse::<ServerName>(), Err(WrongServer(text.to_owned())));
        }
    }
}
