//! Addresses and topics as brokers and peers take them: text that is safe on a line of a properties file.

use std::fmt;

/// Longest host of an address: a DNS name.
const HOST_BYTES: usize = 253;
/// Longest list of addresses.
const ADDRESSES_BYTES: usize = 4096;
/// Longest topic name, Kafka's own bound.
const TOPIC_BYTES: usize = 249;

/// One or several `host:port`, separated by commas without spaces; an IPv6 host stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(String);

/// The name of a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicName(String);

/// Text that is no address or no topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// One of the addresses is malformed.
    #[error("{0:?} is no host:port")]
    Address(String),
    /// The list is too long.
    #[error("{0} bytes: at most {ADDRESSES_BYTES}")]
    Long(usize),
    /// Not a topic name.
    #[error("{0:?} is no topic: 1 to {TOPIC_BYTES} of letters, digits, '.', '_', '-'")]
    Topic(String),
}

impl Addresses {
    /// # Errors
    /// When `text` is not a list of `host:port`.
    pub fn new(text: &str) -> Result<Self, AddressError> {
        if text.len() > ADDRESSES_BYTES {
            return Err(AddressError::Long(text.len()));
        }
        match text.split(',').find(|address| !is_address(address)) {
            Some(bad) => Err(AddressError::Address(bad.into())),
            None => Ok(Self(text.into())),
        }
    }

    /// The list as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=HOST_BYTES).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    // `parse` alone would take `+8082`.
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    is_host && is_port
}

impl TopicName {
    /// # Errors
    /// When Kafka would not take `text` as the name of a topic.
    pub fn new(text: &str) -> Result<Self, AddressError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let is_valid =
            (1..=TOPIC_BYTES).contains(&text.len()) && text.bytes().all(legal) && text != "." && text != "..";
        if is_valid { Ok(Self(text.into())) } else { Err(AddressError::Topic(text.into())) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports_and_nothing_else() {
        for good in ["a:9092", "kafka-0.k.svc:1,kafka-1.k.svc:65535", "[::1]:8082", "10.0.0.1:9092", "my_host:1"] {
            assert_eq!(Addresses::new(good).map(|a| a.to_string()), Ok(good.to_owned()));
        }
        let long = format!("{}:1", "a".repeat(HOST_BYTES + 1));
        for bad in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:99999",
            "a:+1",
            "a:1,",
            "a:1, b:2",
            "a:1\n",
            "\na:1",
            "a:1\nb = c",
            "a:1,b:2\r",
            "a b:1",
            "[::g]:1",
            "a:1;b:2",
            "ü:1",
            &long,
        ] {
            assert!(Addresses::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_topic_is_what_kafka_takes() {
        for good in ["vector-deltas", "us-east.vector_deltas", "a", &"x".repeat(249)] {
            assert_eq!(TopicName::new(good).map(|t| t.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", "a b", "a\n", "t\nlisteners = http://0.0.0.0:1", "a,b", "a*", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
    }
}
