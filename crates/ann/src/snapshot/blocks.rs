//! Checksummed blocks around a stream of numbers.

use std::io::{self, ErrorKind, Read, Write};

use crate::storage::datatype::Number;

use super::{BLOCK_BYTES, MAGIC, OLDEST, PAGE_BYTES, ReadError, VERSION};

const NOT_FINITE: &str = "a component of a vector is not finite";

/// Checksums include the version from version 7 on.
fn checksum(version: u32, block: u64, content: &[u8]) -> u32 {
    let version = if version < 7 { 0 } else { crc32c::crc32c(&version.to_le_bytes()) };
    crc32c::crc32c_append(crc32c::crc32c_append(version, &block.to_le_bytes()), content)
}

/// Bytes up to the next page.
fn filling(at: u64) -> usize {
    (at.next_multiple_of(PAGE_BYTES as u64) - at) as usize
}

pub(super) struct Sink<'a, W> {
    out: &'a mut W,
    content: Vec<u8>,
    block: u64,
    /// Bytes before the block.
    written: u64,
    /// Checksums of bare blocks, while these are written.
    bare: Option<Vec<u32>>,
}

impl<'a, W: Write> Sink<'a, W> {
    pub fn new(out: &'a mut W) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        Ok(Self { out, content: Vec::new(), block: 0, written: (MAGIC.len() + 4) as u64, bare: None })
    }

    pub fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.content.len() + bytes.len() >= BLOCK_BYTES {
            let (now, later) = bytes.split_at(BLOCK_BYTES - self.content.len());
            self.content.extend_from_slice(now);
            self.flush()?;
            bytes = later;
        }
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    pub fn u8(&mut self, x: u8) -> io::Result<()> {
        self.bytes(&[x])
    }

    pub fn u16(&mut self, x: u16) -> io::Result<()> {
        self.bytes(&x.to_le_bytes())
    }

    pub fn u32(&mut self, x: u32) -> io::Result<()> {
        self.bytes(&x.to_le_bytes())
    }

    pub fn u64(&mut self, x: u64) -> io::Result<()> {
        self.bytes(&x.to_le_bytes())
    }

    pub fn numbers<T: Number>(&mut self, numbers: &[T]) -> io::Result<()> {
        numbers.iter().try_for_each(|x| self.bytes(bytemuck::bytes_of(&x.little_endian())))
    }

    /// Starts bare blocks, which have no headers, at the next page.
    pub fn begin_bare(&mut self) -> io::Result<()> {
        self.end_block()?;
        let filling = filling(self.written);
        self.out.write_all(&[0; PAGE_BYTES][..filling])?;
        self.written += filling as u64;
        self.bare = Some(Vec::new());
        Ok(())
    }

    /// Ends bare blocks and writes their checksums.
    pub fn end_bare(&mut self) -> io::Result<()> {
        self.end_block()?;
        self.bare.take().into_iter().flatten().try_for_each(|sum| self.u32(sum))
    }

    /// Ends the current block.
    fn end_block(&mut self) -> io::Result<()> {
        if self.content.is_empty() { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        let sum = checksum(VERSION, self.block, &self.content);
        if let Some(sums) = &mut self.bare {
            sums.push(sum);
        } else {
            self.out.write_all(&(self.content.len() as u32).to_le_bytes())?;
            self.out.write_all(&sum.to_le_bytes())?;
            self.written += 8;
        }
        self.out.write_all(&self.content)?;
        self.written += self.content.len() as u64;
        self.content.clear();
        self.block += 1;
        Ok(())
    }

    /// Writes the rest, and the empty block that ends the snapshot.
    pub fn finish(mut self) -> io::Result<()> {
        self.end_block()?;
        self.flush()
    }
}

pub(super) struct Source<'a, R> {
    input: &'a mut R,
    content: Vec<u8>,
    at: usize,
    /// Number of the next block.
    block: u64,
    /// Bytes read.
    read: u64,
    version: u32,
}

impl<'a, R: Read> Source<'a, R> {
    pub fn new(input: &'a mut R) -> Result<Self, ReadError> {
        let mut source = Self { input, content: Vec::new(), at: 0, block: 0, read: 0, version: 0 };
        let mut magic = [0; 8];
        source.fill(&mut magic)?;
        if magic != MAGIC {
            return Err(ReadError::Foreign { found: magic });
        }
        source.version = source.header_u32()?;
        if !(OLDEST..=VERSION).contains(&source.version) {
            return Err(ReadError::Version { found: source.version });
        }
        Ok(source)
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), ReadError> {
        let block = self.block;
        self.read += into.len() as u64;
        self.input.read_exact(into).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => ReadError::Truncated { block },
            _ => ReadError::Io(source),
        })
    }

    fn header_u32(&mut self) -> Result<u32, ReadError> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn next_block(&mut self) -> Result<(), ReadError> {
        let block = self.block;
        let bytes = self.header_u32()?;
        if bytes as usize > BLOCK_BYTES {
            return Err(ReadError::Oversized { block, bytes });
        }
        let expected = self.header_u32()?;
        let mut content = std::mem::take(&mut self.content);
        content.resize(bytes as usize, 0);
        self.fill(&mut content)?;
        let found = checksum(self.version, block, &content);
        if found != expected {
            return Err(ReadError::Checksum { block, found, expected });
        }
        (self.content, self.at, self.block) = (content, 0, block + 1);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            if self.at == self.content.len() {
                self.next_block()?;
                if self.content.is_empty() {
                    return Err(self.invalid("the snapshot ends before the index does"));
                }
            }
            *byte = self.content[self.at];
            self.at += 1;
        }
        Ok(bytes)
    }

    pub fn u8(&mut self) -> Result<u8, ReadError> {
        self.take::<1>().map(|[x]| x)
    }

    pub fn u16(&mut self) -> Result<u16, ReadError> {
        self.take().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, ReadError> {
        self.take().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, ReadError> {
        self.take().map(u64::from_le_bytes)
    }

    /// Fills `into` with finite numbers.
    pub fn vector(&mut self, into: &mut [f32]) -> Result<(), ReadError> {
        for x in into {
            *x = f32::from_bits(self.u32()?);
            if !x.is_finite() {
                return Err(self.invalid(NOT_FINITE));
            }
        }
        Ok(())
    }

    /// Reads `count` finite numbers from bare blocks, in portions, and returns the offset of the first byte.
    pub fn bare<T: Number>(&mut self, count: u64, mut take: impl FnMut(&[T])) -> Result<u64, ReadError> {
        if self.at != self.content.len() {
            return Err(self.invalid("a block continues where vectors begin"));
        }
        let mut zeros = vec![0; filling(self.read)];
        self.fill(&mut zeros)?;
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(self.invalid("padding before vectors is not zero"));
        }
        let (start, first) = (self.read, self.block);
        let (mut sums, mut numbers, mut is_finite) = (Vec::new(), Vec::new(), true);
        let mut left = count * size_of::<T>() as u64;
        while left > 0 {
            numbers.resize(left.min(BLOCK_BYTES as u64) as usize / size_of::<T>(), T::zeroed());
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut numbers);
            self.fill(bytes)?;
            sums.push(checksum(self.version, self.block, bytes));
            (left, self.block) = (left - bytes.len() as u64, self.block + 1);
            if cfg!(target_endian = "big") {
                numbers.iter_mut().for_each(|x| *x = x.little_endian());
            }
            is_finite &= numbers.iter().all(|x| x.wide().is_finite());
            take(&numbers);
        }
        for (block, found) in (first..).zip(sums) {
            let expected = self.u32()?;
            if found != expected {
                return Err(ReadError::Checksum { block, found, expected });
            }
        }
        if is_finite { Ok(start) } else { Err(self.invalid(NOT_FINITE)) }
    }

    pub fn invalid(&self, what: &'static str) -> ReadError {
        ReadError::Invalid { block: self.block.saturating_sub(1), what }
    }

    /// Refuses content after the index, and requires the final empty block.
    pub fn finish(mut self) -> Result<(), ReadError> {
        if self.at == self.content.len() {
            self.next_block()?;
        }
        if self.content.is_empty() { Ok(()) } else { Err(self.invalid("the snapshot continues after the index")) }
    }
}
