//! Query cases: all vectors, or those that match a filter.

use meridian_ann::Filter;

use super::data::Data;

/// A filter, and the true neighbors of each query under it.
pub(super) struct Case {
    pub filter: Option<(Share, Filter<'static>)>,
    /// True neighbors by query, nearest first.
    pub truth: Vec<Vec<u32>>,
}

/// The vectors that a filter matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// Fraction of all vectors, in (0, 1].
    pub of_all: f64,
    pub rule: Rule,
}

/// Selection rule of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Independent of the vectors.
    Random,
    /// The vectors furthest in one direction: a filter that correlates with the vectors, far from most queries.
    Direction,
}

impl Case {
    /// All vectors from `first` on.
    pub fn all(data: &Data, first: usize, k: usize) -> anyhow::Result<Self> {
        let truth = if first == 0 { data.truth.clone() } else { data.true_neighbors(first, k, None)? };
        Ok(Self { filter: None, truth })
    }

    /// The vectors that a filter matches.
    pub fn filtered(data: &Data, share: Share, k: usize) -> anyhow::Result<Self> {
        let all = data.base.len();
        let count = ((all as f64 * share.of_all).round() as usize).clamp(1, all);
        let mut slots: Vec<u32> = (0..u32::try_from(all)?).collect();
        match share.rule {
            // Multiplication by an odd constant permutes the slots.
            Rule::Random => slots.sort_by_key(|slot| slot.wrapping_mul(0x9e37_79b1)),
            Rule::Direction => {
                let direction = data.base.row(all / 3);
                let product = |at| -> f32 { data.base.row(at).iter().zip(direction).map(|(x, y)| x * y).sum() };
                let products: Vec<f32> = (0..all).map(product).collect();
                slots.sort_by(|a, b| products[*b as usize].total_cmp(&products[*a as usize]));
            }
        }
        slots.truncate(count);
        let filter = Filter::slots(slots);
        let truth = data.true_neighbors(0, k, Some(&filter))?;
        Ok(Self { filter: Some((share, filter)), truth })
    }

    /// Title of the table.
    pub fn title(&self) -> Option<String> {
        let (Share { of_all, rule }, _) = self.filter.as_ref()?;
        let rule = match rule {
            Rule::Random => "at random",
            Rule::Direction => "those furthest in one direction",
        };
        Some(format!("filter: {} %, {rule}", of_all * 100.0))
    }

    /// The filter as JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        let (Share { of_all, rule }, _) = self.filter.as_ref()?;
        Some(serde_json::json!({"share": of_all, "rule": format!("{rule:?}").to_lowercase()}))
    }
}
