//! Filters and queries. A kind of condition or query that this build does not know refuses the request.

use meridian_model as model;
use meridian_model::PayloadPath;

use super::fields::{Fault, known, list, messages, narrow, optional, parsed, required, wide};
use super::ids::PointId;
use super::points::{pack, unpack};

/// `1 must, 2 should, 3 must_not`
#[derive(prost::Message)]
pub struct Filter {
    #[prost(message, repeated, tag = "1")]
    must: Vec<Condition>,
    #[prost(message, repeated, tag = "2")]
    should: Vec<Condition>,
    #[prost(message, repeated, tag = "3")]
    must_not: Vec<Condition>,
}

/// `1 any, 2 except, 3 range, 4 has_id, 5 nested`
#[derive(prost::Message)]
pub struct Condition {
    #[prost(oneof = "ConditionKind", tags = "1, 2, 3, 4, 5")]
    kind: Option<ConditionKind>,
}

#[derive(prost::Oneof)]
pub enum ConditionKind {
    #[prost(message, tag = "1")]
    Any(Values),
    #[prost(message, tag = "2")]
    Except(Values),
    #[prost(message, tag = "3")]
    Range(KeyRange),
    #[prost(message, tag = "4")]
    HasId(Ids),
    #[prost(message, tag = "5")]
    Nested(Filter),
}

/// `1 key, 2 values`
#[derive(prost::Message)]
pub struct Values {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, repeated, tag = "2")]
    values: Vec<Scalar>,
}

/// `1 text, 2 int (zigzag), 3 bool`
#[derive(prost::Message)]
pub struct Scalar {
    #[prost(oneof = "ScalarKind", tags = "1, 2, 3")]
    kind: Option<ScalarKind>,
}

#[derive(prost::Oneof)]
pub enum ScalarKind {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(sint64, tag = "2")]
    Int(i64),
    #[prost(bool, tag = "3")]
    Bool(bool),
}

/// `1 key, 2 lt, 3 lte, 4 gt, 5 gte`: an absent bound always holds
#[derive(prost::Message)]
pub struct KeyRange {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(double, optional, tag = "2")]
    lt: Option<f64>,
    #[prost(double, optional, tag = "3")]
    lte: Option<f64>,
    #[prost(double, optional, tag = "4")]
    gt: Option<f64>,
    #[prost(double, optional, tag = "5")]
    gte: Option<f64>,
}

/// `1 ids`
#[derive(prost::Message)]
pub struct Ids {
    #[prost(message, repeated, tag = "1")]
    ids: Vec<PointId>,
}

impl From<&model::Filter> for Filter {
    fn from(filter: &model::Filter) -> Self {
        let model::Filter { must, should, must_not } = filter;
        Self { must: messages(must), should: messages(should), must_not: messages(must_not) }
    }
}

impl TryFrom<Filter> for model::Filter {
    type Error = Fault;

    fn try_from(filter: Filter) -> Result<Self, Fault> {
        Ok(Self { must: list(filter.must)?, should: list(filter.should)?, must_not: list(filter.must_not)? })
    }
}

impl From<&model::Condition> for Condition {
    fn from(condition: &model::Condition) -> Self {
        let values =
            |key: &PayloadPath, values: &Vec<model::Scalar>| Values { key: key.to_string(), values: messages(values) };
        let kind = match condition {
            model::Condition::Any { key, any } => ConditionKind::Any(values(key, any)),
            model::Condition::Except { key, except } => ConditionKind::Except(values(key, except)),
            model::Condition::Range { key, range: model::Range { lt, lte, gt, gte } } => {
                ConditionKind::Range(KeyRange { key: key.to_string(), lt: *lt, lte: *lte, gt: *gt, gte: *gte })
            }
            model::Condition::HasId(ids) => ConditionKind::HasId(Ids { ids: messages(ids) }),
            model::Condition::Nested(filter) => ConditionKind::Nested((&**filter).into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<Condition> for model::Condition {
    type Error = Fault;

    fn try_from(condition: Condition) -> Result<Self, Fault> {
        Ok(match known("condition", condition.kind)? {
            ConditionKind::Any(any) => Self::Any { key: path(&any.key)?, any: list(any.values)? },
            ConditionKind::Except(except) => Self::Except { key: path(&except.key)?, except: list(except.values)? },
            ConditionKind::Range(KeyRange { key, lt, lte, gt, gte }) => {
                Self::Range { key: path(&key)?, range: model::Range { lt, lte, gt, gte } }
            }
            ConditionKind::HasId(Ids { ids }) => {
                Self::HasId(ids.into_iter().map(model::PointId::try_from).collect::<Result<_, Fault>>()?)
            }
            ConditionKind::Nested(filter) => Self::Nested(Box::new(filter.try_into()?)),
        })
    }
}

impl From<&model::Scalar> for Scalar {
    fn from(scalar: &model::Scalar) -> Self {
        let kind = match scalar {
            model::Scalar::Text(text) => ScalarKind::Text(text.clone()),
            model::Scalar::Int(number) => ScalarKind::Int(*number),
            model::Scalar::Bool(flag) => ScalarKind::Bool(*flag),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<Scalar> for model::Scalar {
    type Error = Fault;

    fn try_from(scalar: Scalar) -> Result<Self, Fault> {
        Ok(match known("value of a condition", scalar.kind)? {
            ScalarKind::Text(text) => Self::Text(text),
            ScalarKind::Int(number) => Self::Int(number),
            ScalarKind::Bool(flag) => Self::Bool(flag),
        })
    }
}

fn path(text: &str) -> Result<PayloadPath, Fault> {
    parsed("key", text.parse())
}

/// `1 search, 2 retrieve, 3 scroll, 4 count`
#[derive(prost::Message)]
pub struct Query {
    #[prost(oneof = "QueryKind", tags = "1, 2, 3, 4")]
    kind: Option<QueryKind>,
}

#[derive(prost::Oneof)]
pub enum QueryKind {
    #[prost(message, tag = "1")]
    Search(Search),
    #[prost(message, tag = "2")]
    Retrieve(Retrieve),
    #[prost(message, tag = "3")]
    Scroll(Scroll),
    #[prost(message, tag = "4")]
    Count(Count),
}

/// `1 vector (packed float), 2 using, 3 filter, 4 limit, 5 ef, 6 recall, 7 exact, 8 score_threshold, 9 select`;
/// 3, 5, 6 and 8 are optional
#[derive(prost::Message)]
pub struct Search {
    #[prost(bytes = "vec", tag = "1")]
    vector: Vec<u8>,
    #[prost(string, tag = "2")]
    using: String,
    #[prost(message, optional, tag = "3")]
    filter: Option<Filter>,
    #[prost(uint64, tag = "4")]
    limit: u64,
    #[prost(uint64, optional, tag = "5")]
    ef: Option<u64>,
    #[prost(uint32, optional, tag = "6")]
    recall: Option<u32>,
    #[prost(bool, tag = "7")]
    exact: bool,
    #[prost(float, optional, tag = "8")]
    score_threshold: Option<f32>,
    #[prost(message, optional, tag = "9")]
    select: Option<Select>,
}

/// `1 ids, 2 select`
#[derive(prost::Message)]
pub struct Retrieve {
    #[prost(message, repeated, tag = "1")]
    ids: Vec<PointId>,
    #[prost(message, optional, tag = "2")]
    select: Option<Select>,
}

/// `1 filter (optional), 2 from (optional), 3 limit, 4 select`
#[derive(prost::Message)]
pub struct Scroll {
    #[prost(message, optional, tag = "1")]
    filter: Option<Filter>,
    #[prost(message, optional, tag = "2")]
    from: Option<PointId>,
    #[prost(uint64, tag = "3")]
    limit: u64,
    #[prost(message, optional, tag = "4")]
    select: Option<Select>,
}

/// `1 filter (optional)`
#[derive(prost::Message)]
pub struct Count {
    #[prost(message, optional, tag = "1")]
    filter: Option<Filter>,
}

/// `payload: 1 none, 2 all, 3 only, 4 without; vectors: 5 none, 6 all, 7 only`
#[derive(prost::Message)]
pub struct Select {
    #[prost(oneof = "Fields", tags = "1, 2, 3, 4")]
    payload: Option<Fields>,
    #[prost(oneof = "Names", tags = "5, 6, 7")]
    vectors: Option<Names>,
}

#[derive(prost::Oneof)]
pub enum Fields {
    #[prost(message, tag = "1")]
    None(()),
    #[prost(message, tag = "2")]
    All(()),
    #[prost(message, tag = "3")]
    Only(Texts),
    #[prost(message, tag = "4")]
    Without(Texts),
}

#[derive(prost::Oneof)]
pub enum Names {
    #[prost(message, tag = "5")]
    None(()),
    #[prost(message, tag = "6")]
    All(()),
    #[prost(message, tag = "7")]
    Only(Texts),
}

/// `1 texts`
#[derive(prost::Message)]
pub struct Texts {
    #[prost(string, repeated, tag = "1")]
    texts: Vec<String>,
}

impl From<&model::Query> for Query {
    fn from(query: &model::Query) -> Self {
        let kind = match query {
            model::Query::Search(search) => QueryKind::Search(search.into()),
            model::Query::Retrieve { ids, select } => {
                QueryKind::Retrieve(Retrieve { ids: messages(ids), select: Some(select.into()) })
            }
            model::Query::Scroll { filter, from, limit, select } => QueryKind::Scroll(Scroll {
                filter: filter.as_ref().map(Filter::from),
                from: from.as_ref().map(PointId::from),
                limit: wide(*limit),
                select: Some(select.into()),
            }),
            model::Query::Count { filter } => QueryKind::Count(Count { filter: filter.as_ref().map(Filter::from) }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<Query> for model::Query {
    type Error = Fault;

    fn try_from(query: Query) -> Result<Self, Fault> {
        Ok(match known("query", query.kind)? {
            QueryKind::Search(search) => Self::Search(search.try_into()?),
            QueryKind::Retrieve(Retrieve { ids, select }) => {
                Self::Retrieve { ids: list(ids)?, select: required("retrieve.select", select)? }
            }
            QueryKind::Scroll(Scroll { filter, from, limit, select }) => Self::Scroll {
                filter: optional(filter)?,
                from: optional(from)?,
                limit: narrow("scroll.limit", limit)?,
                select: required("scroll.select", select)?,
            },
            QueryKind::Count(Count { filter }) => Self::Count { filter: optional(filter)? },
        })
    }
}

impl From<&model::Search> for Search {
    fn from(search: &model::Search) -> Self {
        Self {
            vector: pack(&search.vector),
            using: search.using.clone(),
            filter: search.filter.as_ref().map(Filter::from),
            limit: wide(search.limit),
            ef: search.ef.map(wide),
            recall: search.recall.map(u32::from),
            exact: search.exact,
            score_threshold: search.score_threshold,
            select: Some((&search.select).into()),
        }
    }
}

impl TryFrom<Search> for model::Search {
    type Error = Fault;

    fn try_from(search: Search) -> Result<Self, Fault> {
        Ok(Self {
            vector: unpack("search.vector", &search.vector)?,
            using: search.using,
            filter: optional(search.filter)?,
            limit: narrow("search.limit", search.limit)?,
            ef: search.ef.map(|ef| narrow("search.ef", ef)).transpose()?,
            recall: search.recall.map(|recall| narrow("search.recall", recall)).transpose()?,
            exact: search.exact,
            score_threshold: search.score_threshold,
            select: required("search.select", search.select)?,
        })
    }
}

impl From<&model::Select> for Select {
    fn from(select: &model::Select) -> Self {
        let paths = |paths: &Vec<PayloadPath>| Texts { texts: paths.iter().map(PayloadPath::to_string).collect() };
        let payload = match &select.payload {
            model::Fields::None => Fields::None(()),
            model::Fields::All => Fields::All(()),
            model::Fields::Only(only) => Fields::Only(paths(only)),
            model::Fields::Without(without) => Fields::Without(paths(without)),
        };
        let vectors = match &select.vectors {
            model::Names::None => Names::None(()),
            model::Names::All => Names::All(()),
            model::Names::Only(texts) => Names::Only(Texts { texts: texts.clone() }),
        };
        Self { payload: Some(payload), vectors: Some(vectors) }
    }
}

impl TryFrom<Select> for model::Select {
    type Error = Fault;

    fn try_from(select: Select) -> Result<Self, Fault> {
        let paths = |paths: Texts| paths.texts.iter().map(|text| path(text)).collect::<Result<Vec<_>, _>>();
        let payload = match known("selection of payload fields", select.payload)? {
            Fields::None(()) => model::Fields::None,
            Fields::All(()) => model::Fields::All,
            Fields::Only(only) => model::Fields::Only(paths(only)?),
            Fields::Without(without) => model::Fields::Without(paths(without)?),
        };
        let vectors = match known("selection of vectors", select.vectors)? {
            Names::None(()) => model::Names::None,
            Names::All(()) => model::Names::All,
            Names::Only(Texts { texts }) => model::Names::Only(texts),
        };
        Ok(Self { payload, vectors })
    }
}
