//! Parameters of collections whose definition names none.

use meridian_model::HnswParams;
use serde::{Deserialize, Serialize};

use crate::bounds::between;

/// Parameters of collections whose definition names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectionDefaults {
    /// Parameters of the graph, by Qdrant's names.
    pub hnsw_config: HnswDefaults,
}

/// Parameters of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HnswDefaults {
    /// Links per node. Default 16.
    #[serde(deserialize_with = "between::<_, u16, 4, 128>")]
    pub m: u16,
    /// Beam width while building. Default 100.
    #[serde(deserialize_with = "between::<_, u16, 8, 4096>")]
    pub ef_construct: u16,
}

impl Default for HnswDefaults {
    fn default() -> Self {
        let HnswParams { m, ef_construct, .. } = HnswParams::default();
        Self { m, ef_construct }
    }
}

impl From<HnswDefaults> for HnswParams {
    fn from(HnswDefaults { m, ef_construct }: HnswDefaults) -> Self {
        Self { m, ef_construct, ..Self::default() }
    }
}
