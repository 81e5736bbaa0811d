//! Reading a snapshot file in pieces: only the part that is being decoded is in memory.

use std::io::{self, Read};

use meridian_model::{BehaviorVersion, VersionUnknown};
use serde::de::DeserializeOwned;

use super::{HASH_BYTES, RestoreError, SNAPSHOT_VERSION, malformed, newer};

/// Bytes read at once.
const PIECE_BYTES: usize = 64 << 10;

/// The body of a file, hashed while it is read. Its contents count only after [`read_sealed`] has reached the end.
pub(super) struct Body<R> {
    input: R,
    hasher: blake3::Hasher,
    /// Bytes that were read and not returned yet; the last ones may be the hash.
    held: Vec<u8>,
    at: usize,
    is_at_end: bool,
    /// Error of reading the file.
    fault: Option<io::Error>,
}

impl<R: Read> Body<R> {
    fn new(input: R) -> Self {
        let hasher = blake3::Hasher::new();
        Self { input, hasher, held: Vec::new(), at: 0, is_at_end: false, fault: None }
    }

    /// The available bytes of the body, after reading more if there were none; empty at its end.
    fn fill(&mut self) -> io::Result<&[u8]> {
        while self.held.len() - self.at <= HASH_BYTES && !self.is_at_end {
            self.held.drain(..self.at);
            self.at = 0;
            let begun = self.held.len();
            self.held.resize(begun + PIECE_BYTES, 0);
            let read = self.input.read(&mut self.held[begun..]);
            self.held.truncate(begun + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => self.is_at_end = true,
                Ok(_) => {}
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => {
                    // The decoder may convert the error into a text.
                    self.fault = Some(io::Error::new(fault.kind(), fault.to_string()));
                    self.is_at_end = true;
                    return Err(fault);
                }
            }
        }
        let end = self.held.len().saturating_sub(HASH_BYTES).max(self.at);
        Ok(&self.held[self.at..end])
    }

    fn consume(&mut self, bytes: usize) {
        self.hasher.update(&self.held[self.at..self.at + bytes]);
        self.at += bytes;
    }

    /// Reads the file to its end.
    ///
    /// # Errors
    /// The file cannot be read.
    fn drain(mut self, file: &str) -> Result<(), RestoreError> {
        while let Some(bytes) = self.fill().ok().map(<[u8]>::len).filter(|bytes| *bytes > 0) {
            self.consume(bytes);
        }
        self.fault.map_or(Ok(()), |fault| Err(RestoreError::unreadable(file, &fault)))
    }

    /// Reads the rest of the file and returns its length.
    ///
    /// # Errors
    /// The file cannot be read, or differs from what was written.
    fn finish(mut self, file: &str) -> Result<u64, RestoreError> {
        let mut left = 0;
        while let Some(bytes) = self.fill().ok().map(<[u8]>::len).filter(|bytes| *bytes > 0) {
            self.consume(bytes);
            left += bytes as u64;
        }
        if let Some(fault) = self.fault {
            return Err(RestoreError::unreadable(file, &fault));
        }
        if self.held[self.at..] == *self.hasher.finalize().as_bytes() {
            Ok(left)
        } else {
            Err(RestoreError::Damaged(file.into()))
        }
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill()?;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Reads a file by `decode`, which must consume the whole body. Errors of the file as a whole take precedence.
///
/// # Errors
/// The file cannot be read, differs from what was written, has another format, or `decode` fails.
pub(super) fn read_sealed<R: Read, T>(
    file: &str,
    input: R,
    decode: impl FnOnce(&mut Body<R>) -> Result<T, RestoreError>,
) -> Result<T, RestoreError> {
    let mut body = Body::new(input);
    let mut head = [0; 3];
    match body.read_exact(&mut head[..1]) {
        // The format is checked first, since another one may be sealed differently. The caller compares the contents
        // with the manifest, so a changed byte is not mistaken for another format.
        Ok(()) if head[0] != SNAPSHOT_VERSION => {
            body.drain(file)?;
            return Err(match head[0] {
                found if found > SNAPSHOT_VERSION => newer(file, VersionUnknown::format(found, SNAPSHOT_VERSION)),
                version => RestoreError::Version { file: file.into(), version },
            });
        }
        Ok(()) if body.read_exact(&mut head[1..]).is_ok() => {}
        Ok(()) | Err(_) => {
            body.finish(file)?;
            return Err(RestoreError::Damaged(file.into()));
        }
    }
    if let Err(unknown) = VersionUnknown::check(BehaviorVersion(u16::from_le_bytes([head[1], head[2]]))) {
        body.finish(file)?;
        return Err(newer(file, unknown));
    }
    let decoded = decode(&mut body);
    let left = body.finish(file)?;
    match decoded {
        Ok(_) if left > 0 => Err(malformed(file, "bytes after its end")),
        decoded => decoded,
    }
}

/// Consecutive postcard values.
pub(super) struct Values<'a, R> {
    body: &'a mut Body<R>,
    held: Vec<u8>,
    at: usize,
}

impl<'a, R: Read> Values<'a, R> {
    pub(super) fn of(body: &'a mut Body<R>) -> Self {
        Self { body, held: Vec::new(), at: 0 }
    }

    /// Decodes the next value. Memory: at most twice its bytes.
    ///
    /// # Errors
    /// There is no further value, or it is invalid.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        loop {
            let fault = match postcard::take_from_bytes(&self.held[self.at..]) {
                Ok((value, rest)) => {
                    self.at = self.held.len() - rest.len();
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            if fault != postcard::Error::DeserializeUnexpectedEnd || !self.read_on()? {
                return Err(fault.to_string());
            }
        }
    }

    /// Reads more; returns false at the end. It reads at least as much as is held, so that a large value is not
    /// attempted often.
    fn read_on(&mut self) -> Result<bool, String> {
        self.held.drain(..self.at);
        self.at = 0;
        let wanted = self.held.len().max(PIECE_BYTES) as u64;
        let read = (&mut *self.body).take(wanted).read_to_end(&mut self.held).map_err(|fault| fault.to_string())?;
        Ok(read > 0)
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// Bytes follow.
    pub(super) fn end(&mut self) -> Result<(), String> {
        if self.at == self.held.len() && !self.read_on()? { Ok(()) } else { Err("bytes after its end".into()) }
    }
}
