//! Filters: `must`, `should`, `must_not` with match, range, has_id and filters inside.

use std::fmt;

use meridian_config::Limits;
use meridian_model::{Condition, Filter, PayloadPath, Range, Scalar};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;

use super::Fault;
use super::id::Id;
use super::json::refuse;
use super::meter::{HEADER, List, Text, charge, charge_path};
use super::select::OneOrMany;

/// A filter in JSON.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct FilterBody {
    must: Option<OneOrMany<ConditionBody>>,
    should: Option<OneOrMany<ConditionBody>>,
    must_not: Option<OneOrMany<ConditionBody>>,
    min_should: Option<IgnoredAny>,
}

/// All fields of a condition; those present decide its kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionBody {
    key: Option<String>,
    r#match: Option<MatchBody>,
    range: Option<RangeBody>,
    geo_bounding_box: Option<IgnoredAny>,
    geo_radius: Option<IgnoredAny>,
    geo_polygon: Option<IgnoredAny>,
    values_count: Option<IgnoredAny>,
    is_empty: Option<IgnoredAny>,
    is_null: Option<IgnoredAny>,
    has_id: Option<List<Id>>,
    has_vector: Option<IgnoredAny>,
    nested: Option<IgnoredAny>,
    must: Option<OneOrMany<ConditionBody>>,
    should: Option<OneOrMany<ConditionBody>>,
    must_not: Option<OneOrMany<ConditionBody>>,
    min_should: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchBody {
    value: Option<Value>,
    any: Option<List<Value>>,
    except: Option<List<Value>>,
    text: Option<IgnoredAny>,
    text_any: Option<IgnoredAny>,
    phrase: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeBody {
    lt: Option<Value>,
    lte: Option<Value>,
    gt: Option<Value>,
    gte: Option<Value>,
}

/// A value to compare with. Lists and objects are recognized but not kept.
enum Value {
    Bool(bool),
    Number(Number),
    Text(Text),
    Other,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }

            fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
                Ok(Value::Bool(truth))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number.into()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number.into()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
                Ok(Number::from_f64(number).map_or(Value::Other, Value::Number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                charge::<E>(text.len() + HEADER)?;
                Ok(Value::Text(Text(text.to_owned())))
            }

            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Conditions and values that the filter may still use.
struct Budget<'a> {
    limits: &'a Limits,
    conditions: usize,
    values: usize,
}

/// Converts a filter.
///
/// # Errors
/// When it is beyond a bound of `limits`, a condition is of no kind or of two, or a field is not supported.
pub fn filter(body: FilterBody, limits: &Limits) -> Result<Filter, Fault> {
    let mut budget = Budget { limits, conditions: limits.filter_conditions, values: limits.filter_values };
    budget.filter(body, 1)
}

impl Budget<'_> {
    fn filter(&mut self, body: FilterBody, depth: usize) -> Result<Filter, Fault> {
        if depth > self.limits.filter_depth {
            return Err(Fault::input(format!("filter: filters are nested deeper than {}", self.limits.filter_depth)));
        }
        refuse(body.min_should.as_ref(), "filter: min_should is not supported")?;
        let mut all = |conditions: Option<OneOrMany<ConditionBody>>| {
            conditions
                .unwrap_or_default()
                .0
                .into_iter()
                .map(|body| self.condition(body, depth))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Filter { must: all(body.must)?, should: all(body.should)?, must_not: all(body.must_not)? })
    }

    fn condition(&mut self, body: ConditionBody, depth: usize) -> Result<Condition, Fault> {
        let most = self.limits.filter_conditions;
        self.conditions = self
            .conditions
            .checked_sub(1)
            .ok_or_else(|| Fault::input(format!("filter: more than {most} conditions")))?;
        refuse(body.geo_bounding_box.as_ref(), "filter: geo_bounding_box is not supported")?;
        refuse(body.geo_radius.as_ref(), "filter: geo_radius is not supported")?;
        refuse(body.geo_polygon.as_ref(), "filter: geo_polygon is not supported")?;
        refuse(body.values_count.as_ref(), "filter: values_count is not supported")?;
        refuse(body.is_empty.as_ref(), "filter: is_empty is not supported")?;
        refuse(body.is_null.as_ref(), "filter: is_null is not supported")?;
        refuse(body.has_vector.as_ref(), "filter: has_vector is not supported")?;
        refuse(
            body.nested.as_ref(),
            "filter: nested is not supported; a key may select elements of arrays with name[] or name[0]",
        )?;
        let ConditionBody { key, r#match, range, has_id, must, should, must_not, min_should, .. } = body;
        let inner = must.is_some() || should.is_some() || must_not.is_some() || min_should.is_some();
        match (key, r#match, range, has_id, inner) {
            (Some(key), Some(wanted), None, None, false) => self.matching(path(&key)?, wanted),
            (Some(key), None, Some(range), None, false) => {
                Ok(Condition::Range { key: path(&key)?, range: range.convert()? })
            }
            (None, None, None, Some(List(ids)), false) => {
                self.spend(ids.len())?;
                Ok(Condition::HasId(ids.into_iter().map(|id| id.0).collect()))
            }
            (None, None, None, None, true) => {
                let body = FilterBody { must, should, must_not, min_should };
                self.filter(body, depth + 1).map(Box::new).map(Condition::Nested)
            }
            _ => Err(Fault::input(
                "filter: a condition is either key with match or range, or has_id, or a filter with must, should, must_not",
            )),
        }
    }

    fn matching(&mut self, key: PayloadPath, wanted: MatchBody) -> Result<Condition, Fault> {
        refuse(wanted.text.as_ref(), "filter: match.text is not supported")?;
        refuse(wanted.text_any.as_ref(), "filter: match.text_any is not supported")?;
        refuse(wanted.phrase.as_ref(), "filter: match.phrase is not supported")?;
        match (wanted.value, wanted.any, wanted.except) {
            (Some(value), None, None) => Ok(Condition::Any { key, any: vec![scalar(value)?] }),
            (None, Some(any), None) => Ok(Condition::Any { key, any: self.scalars(any.0)? }),
            (None, None, Some(except)) => Ok(Condition::Except { key, except: self.scalars(except.0)? }),
            _ => Err(Fault::input("filter: match holds one of value, any, except")),
        }
    }

    fn scalars(&mut self, values: Vec<Value>) -> Result<Vec<Scalar>, Fault> {
        self.spend(values.len())?;
        values.into_iter().map(scalar).collect()
    }

    fn spend(&mut self, values: usize) -> Result<(), Fault> {
        let most = self.limits.filter_values;
        self.values = self
            .values
            .checked_sub(values)
            .ok_or_else(|| Fault::input(format!("filter: more than {most} values and ids")))?;
        Ok(())
    }
}

fn path(key: &str) -> Result<PayloadPath, Fault> {
    charge_path::<serde_json::Error>(key).map_err(|_| Fault::NoRoom)?;
    key.parse().map_err(|error| Fault::input(format!("filter.key: {error}")))
}

fn scalar(value: Value) -> Result<Scalar, Fault> {
    match value {
        Value::Text(Text(text)) => Ok(Scalar::Text(text)),
        Value::Bool(truth) => Ok(Scalar::Bool(truth)),
        Value::Number(number) => number.as_i64().map(Scalar::Int).ok_or_else(|| {
            Fault::input(format!("filter: match on {number}: only texts, booleans and 64-bit integers can be matched"))
        }),
        Value::Other => Err(Fault::input("filter: match: only texts, booleans and 64-bit integers can be matched")),
    }
}

impl RangeBody {
    fn convert(self) -> Result<Range, Fault> {
        let bound = |name: &str, value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(Value::Text(_)) => {
                Err(Fault::unsupported(format!("filter: range.{name}: ranges of dates are not supported")))
            }
            Some(_) => Err(Fault::input(format!("filter: range.{name} is no number"))),
        };
        Ok(Range {
            lt: bound("lt", self.lt)?,
            lte: bound("lte", self.lte)?,
            gt: bound("gt", self.gt)?,
            gte: bound("gte", self.gte)?,
        })
    }
}
