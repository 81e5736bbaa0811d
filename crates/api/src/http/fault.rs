//! Errors in request bodies.

/// Why a request body was refused. The HTTP status is in parentheses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON, or not the fields of this request (400).
    #[error("Format error in JSON body: {0}")]
    Format(String),
    /// A value that its field cannot have (400).
    #[error("Wrong input: {0}")]
    Input(String),
    /// The body would need too much memory once decoded (413).
    #[error("Wrong input: {0}")]
    TooLarge(String),
    /// The requests in flight use all memory set aside for requests (429).
    #[error("Rate limit: the requests in flight use all memory that is set aside for them")]
    NoRoom,
    /// A part of Qdrant's interface that Meridian does not support (501).
    #[error("Not supported: {0}")]
    Unsupported(String),
}

impl Fault {
    /// The HTTP status code of the reply.
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
