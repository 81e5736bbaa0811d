//! Which vectors a question is about: all, or those that a filter accepts.

use meridian_ann::Filter;

use super::data::Data;

/// Questions of one kind, with their answers.
pub(super) struct Case {
    pub filter: Option<(Share, Filter<'static>)>,
    /// By query.
    pub truth: Vec<Vec<u32>>,
}

/// What a filter accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// Above 0, 1 at most.
    pub of_all: f64,
    pub rule: Rule,
}

/// How it chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Evenly spread.
    Random,
    /// Those furthest in one direction: what most queries are far from.
    Direction,
}

impl Case {
    /// All vectors from `first` on.
    pub fn all(data: &Data, first: usize, k: usize) -> anyhow::Result<Self> {
        let truth = if first == 0 { data.truth.clone() } else { data.true_neighbours(first, k, None)? };
        Ok(Self { filter: None, truth })
    }

    /// A share of them.
    pub fn some(data: &Data, share: Share, k: usize) -> anyhow::Result<Self> {
        let all = data.base.len();
        let wanted = ((all as f64 * share.of_all).round() as usize).clamp(1, all);
        let mut slots: Vec<u32> = (0..u32::try_from(all)?).collect();
        match share.rule {
            // A multiplication by an odd number mixes the upper bits.
            Rule::Random => slots.sort_by_key(|slot| slot.wrapping_mul(0x9e37_79b1)),
            Rule::Direction => {
                let along = data.base.row(all / 3);
                let product = |at| -> f32 { data.base.row(at).iter().zip(along).map(|(x, y)| x * y).sum() };
                let products: Vec<f32> = (0..all).map(product).collect();
                slots.sort_by(|a, b| products[*b as usize].total_cmp(&products[*a as usize]));
            }
        }
        slots.truncate(wanted);
        let filter = Filter::slots(slots);
        let truth = data.true_neighbours(0, k, Some(&filter))?;
        Ok(Self { filter: Some((share, filter)), truth })
    }

    /// What is asked, for people.
    pub fn title(&self) -> Option<String> {
        let (Share { of_all, rule }, _) = self.filter.as_ref()?;
        let rule = match rule {
            Rule::Random => "at random",
            Rule::Direction => "those furthest in one direction",
        };
        Some(format!("filter: {} %, {rule}", of_all * 100.0))
    }

    /// The same, for programs.
    pub fn json(&self) -> Option<serde_json::Value> {
        let (Share { of_all, rule }, _) = self.filter.as_ref()?;
        Some(serde_json::json!({"share": of_all, "rule": format!("{rule:?}").to_lowercase()}))
    }
}
