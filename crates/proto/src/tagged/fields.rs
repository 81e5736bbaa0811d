//! What the conversions of all messages share.

use std::fmt::Display;
use std::time::Duration;

use meridian_model::{BehaviorVersion, VersionUnknown};

use crate::frame::Unsupported;

/// Why a message does not become a value of the domain.
#[derive(Debug)]
pub enum Fault {
    /// A field is absent or has an invalid value.
    Malformed(String),
    /// It contains something of a kind that this build does not know; of which noun.
    Unknown(&'static str),
    /// It needs a behavior version that this build does not know.
    Needs(BehaviorVersion),
}

impl Fault {
    /// A field with an invalid value.
    pub fn malformed(field: &str, why: impl Display) -> Self {
        Self::Malformed(format!("{field}: {why}"))
    }
}

/// A field that must be there.
pub fn present<T>(field: &str, value: Option<T>) -> Result<T, Fault> {
    value.ok_or_else(|| Fault::malformed(field, "missing"))
}

/// A message that must be there.
pub fn required<M, T: TryFrom<M, Error = Fault>>(field: &str, message: Option<M>) -> Result<T, Fault> {
    present(field, message)?.try_into()
}

/// A message that may be absent.
pub fn optional<M, T: TryFrom<M, Error = Fault>>(message: Option<M>) -> Result<Option<T>, Fault> {
    message.map(T::try_from).transpose()
}

/// A list of messages.
pub fn list<M, T: TryFrom<M, Error = Fault>>(messages: Vec<M>) -> Result<Vec<T>, Fault> {
    messages.into_iter().map(T::try_from).collect()
}

/// A list of values as messages.
pub fn messages<'a, T: 'a, M: From<&'a T>>(values: impl IntoIterator<Item = &'a T>) -> Vec<M> {
    values.into_iter().map(M::from).collect()
}

/// A choice whose kind this build must know.
pub fn known<T>(noun: &'static str, kind: Option<T>) -> Result<T, Fault> {
    kind.ok_or(Fault::Unknown(noun))
}

/// A number that the domain holds in fewer bits.
pub fn narrow<W: Copy + Display, N: TryFrom<W>>(field: &str, number: W) -> Result<N, Fault> {
    N::try_from(number).map_err(|_| Fault::malformed(field, format_args!("{number} is out of range")))
}

/// A number of the domain's own width, which has no more than 64 bits.
pub fn wide(number: usize) -> u64 {
    number as u64
}

/// Text with a rule, such as a name.
pub fn parsed<T, E: Display>(field: &str, value: Result<T, E>) -> Result<T, Fault> {
    value.map_err(|fault| Fault::malformed(field, fault))
}

/// Bytes of a fixed number.
pub fn array<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::malformed(field, format_args!("must have {N} bytes (got {})", bytes.len())))
}

/// An id of 16 bytes.
pub fn id(field: &str, bytes: &[u8]) -> Result<u128, Fault> {
    array(field, bytes).map(u128::from_be_bytes)
}

/// The bytes of an id.
pub fn id_bytes(id: u128) -> Vec<u8> {
    id.to_be_bytes().into()
}

/// A behavior version, known to this build or not.
pub fn behavior(field: &str, version: u32) -> Result<BehaviorVersion, Fault> {
    if version == 0 {
        return Err(Fault::malformed(field, "missing"));
    }
    narrow(field, version).map(BehaviorVersion)
}

/// A behavior version that messages of the first one leave out.
pub fn behavior_or_first(field: &str, version: Option<u32>) -> Result<BehaviorVersion, Fault> {
    version.map_or(Ok(BehaviorVersion::FIRST), |version| behavior(field, version))
}

/// Undoes [`behavior_or_first`].
pub fn later_than_first(version: BehaviorVersion) -> Option<u32> {
    (version > BehaviorVersion::FIRST).then(|| version.0.into())
}

/// The behavior version that a request needs, if this build knows it.
pub fn needs(version: u32) -> Result<BehaviorVersion, Fault> {
    let needs = behavior("needs", version)?;
    VersionUnknown::check(needs).map(|()| needs).map_err(|_| Fault::Needs(needs))
}

/// A call, or the value that stands for one that this build cannot execute.
pub fn call_or<C>(call: Result<C, Fault>, unsupported: impl FnOnce(Unsupported) -> C) -> Result<C, Fault> {
    match call {
        Err(Fault::Unknown(noun)) => Ok(unsupported(Unsupported::Kind(noun))),
        Err(Fault::Needs(version)) => Ok(unsupported(Unsupported::Version(version))),
        call => call,
    }
}

/// An answer, or the value that stands for one that this build does not know.
pub fn answer_or<A>(answer: Result<A, Fault>, unknown: A) -> Result<A, Fault> {
    match answer {
        Err(Fault::Unknown(_) | Fault::Needs(_)) => Ok(unknown),
        answer => answer,
    }
}

/// A set of named values without data, as numbers from 1.
pub trait Enumerated: Copy + Sized {
    /// What it is a kind of.
    const NOUN: &'static str;

    fn number(self) -> u32;
    fn of(number: u32) -> Option<Self>;
}

/// Implements [`Enumerated`].
macro_rules! enumeration {
    ($type:ty, $noun:literal, { $($variant:ident = $number:literal),+ $(,)? }) => {
        impl $crate::tagged::fields::Enumerated for $type {
            const NOUN: &'static str = $noun;

            fn number(self) -> u32 {
                match self { $(Self::$variant => $number),+ }
            }

            fn of(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use enumeration;

/// An enumeration that must be there.
pub fn enumerated<T: Enumerated>(field: &str, number: Option<u32>) -> Result<T, Fault> {
    known(T::NOUN, T::of(present(field, number)?))
}

/// A span of time: `1 seconds, 2 nanoseconds`.
#[derive(prost::Message)]
pub struct TimeSpan {
    #[prost(uint64, tag = "1")]
    seconds: u64,
    #[prost(uint32, tag = "2")]
    nanos: u32,
}

impl From<&Duration> for TimeSpan {
    fn from(span: &Duration) -> Self {
        Self { seconds: span.as_secs(), nanos: span.subsec_nanos() }
    }
}

impl TryFrom<TimeSpan> for Duration {
    type Error = Fault;

    fn try_from(TimeSpan { seconds, nanos }: TimeSpan) -> Result<Self, Fault> {
        if nanos >= 1_000_000_000 {
            return Err(Fault::malformed("nanoseconds", format_args!("{nanos} is out of range")));
        }
        Ok(Self::new(seconds, nanos))
    }
}
