//! What is wrong with a request body.

/// Why a request body was refused before anybody was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON, or not of the shape of this request (400).
    #[error("Format error in JSON body: {0}")]
    Format(String),
    /// The right shape with impossible values (400).
    #[error("Wrong input: {0}")]
    Input(String),
    /// A body that needs too much memory once it is decoded (413).
    #[error("Wrong input: {0}")]
    TooLarge(String),
    /// The requests in flight leave no memory for this one (429).
    #[error("Rate limit: the requests in flight use all memory that is set aside for them")]
    NoRoom,
    /// A part of Qdrant's interface that Meridian does not have (501).
    #[error("Not supported: {0}")]
    Unsupported(String),
}

impl Fault {
    /// The status code to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Format(_) | Self::Input(_) => 400,
            Self::TooLarge(_) => 413,
            Self::NoRoom => 429,
            Self::Unsupported(_) => 501,
        }
    }

    pub(super) fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported(message.into())
    }
}
