//! Definitions of collections.

use meridian_model as model;
use meridian_model::{CollectionName, CollectionUid, Distance, HnswParams};

use super::fields::{Enumerated, Fault, enumerated, enumeration, narrow, parsed, present, required};

enumeration!(Distance, "distance", { Cosine = 1, Dot = 2, Euclid = 3, Manhattan = 4 });

/// A collection by its name.
pub fn collection(field: &str, name: &str) -> Result<CollectionName, Fault> {
    parsed(field, CollectionName::new(name))
}

/// `1 name, 2 vectors: {1 name, 2 dim, 3 distance, 4 hnsw}`
#[derive(prost::Message)]
pub struct CollectionDef {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    vectors: Vec<VectorDef>,
}

#[derive(prost::Message)]
pub struct VectorDef {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    dim: u32,
    #[prost(uint32, optional, tag = "3")]
    distance: Option<u32>,
    #[prost(message, optional, tag = "4")]
    hnsw: Option<Hnsw>,
}

/// `1 m, 2 ef_construct, 3 inline_storage, 4 full_scan_threshold`
#[derive(prost::Message)]
pub struct Hnsw {
    #[prost(uint32, optional, tag = "1")]
    m: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    ef_construct: Option<u32>,
    #[prost(bool, tag = "3")]
    inline_storage: bool,
    #[prost(uint32, optional, tag = "4")]
    full_scan_threshold: Option<u32>,
}

impl From<&model::CollectionDef> for CollectionDef {
    fn from(def: &model::CollectionDef) -> Self {
        let vector = |(name, def): (&String, &model::VectorDef)| VectorDef {
            name: name.clone(),
            dim: def.dim,
            distance: Some(def.distance.number()),
            hnsw: Some((&def.hnsw).into()),
        };
        Self { name: def.name.as_str().into(), vectors: def.vectors.iter().map(vector).collect() }
    }
}

impl TryFrom<CollectionDef> for model::CollectionDef {
    type Error = Fault;

    fn try_from(def: CollectionDef) -> Result<Self, Fault> {
        let (name, expected) = (collection("collection.name", &def.name)?, def.vectors.len());
        let vector = |def: VectorDef| {
            let (distance, hnsw) = (enumerated("vector.distance", def.distance)?, required("vector.hnsw", def.hnsw)?);
            Ok((def.name, model::VectorDef { dim: def.dim, distance, hnsw }))
        };
        let vectors =
            def.vectors.into_iter().map(vector).collect::<Result<std::collections::BTreeMap<_, _>, Fault>>()?;
        if vectors.len() < expected {
            return Err(Fault::malformed("collection.vectors", "two have the same name"));
        }
        Ok(Self { name, vectors })
    }
}

impl From<&HnswParams> for Hnsw {
    fn from(params: &HnswParams) -> Self {
        Self {
            m: Some(params.m.into()),
            ef_construct: Some(params.ef_construct.into()),
            inline_storage: params.inline_storage,
            full_scan_threshold: Some(params.full_scan_threshold),
        }
    }
}

impl TryFrom<Hnsw> for HnswParams {
    type Error = Fault;

    fn try_from(hnsw: Hnsw) -> Result<Self, Fault> {
        Ok(Self {
            m: narrow("hnsw.m", present("hnsw.m", hnsw.m)?)?,
            ef_construct: narrow("hnsw.ef_construct", present("hnsw.ef_construct", hnsw.ef_construct)?)?,
            inline_storage: hnsw.inline_storage,
            full_scan_threshold: present("hnsw.full_scan_threshold", hnsw.full_scan_threshold)?,
        })
    }
}

/// `1 uid, 2 def`
#[derive(prost::Message)]
pub struct Definition {
    #[prost(fixed64, tag = "1")]
    uid: u64,
    #[prost(message, optional, tag = "2")]
    def: Option<CollectionDef>,
}

impl From<&(CollectionUid, model::CollectionDef)> for Definition {
    fn from((uid, def): &(CollectionUid, model::CollectionDef)) -> Self {
        Self { uid: uid.0, def: Some(def.into()) }
    }
}

impl TryFrom<Definition> for (CollectionUid, model::CollectionDef) {
    type Error = Fault;

    fn try_from(definition: Definition) -> Result<Self, Fault> {
        Ok((CollectionUid(definition.uid), required("definition", definition.def)?))
    }
}
