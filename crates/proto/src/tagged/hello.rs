//! Greetings. Builds of all protocol versions read them, so these fields stay for ever.

use meridian_model::ClusterId;

use super::fields::{Fault, behavior as version, id, id_bytes, narrow, optional, required};
use super::ids::{NodeId, region};
use crate::frame;

/// `1 cluster (16 bytes), 2 region, 3 node (optional), 4 address, 5 build`
#[derive(prost::Message)]
pub struct Hello {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
    #[prost(string, tag = "2")]
    region: String,
    #[prost(message, optional, tag = "3")]
    node: Option<NodeId>,
    #[prost(string, tag = "4")]
    address: String,
    #[prost(message, optional, tag = "5")]
    build: Option<Build>,
}

/// `1 oldest protocol, 2 newest protocol, 3 behavior version, 4 release`
#[derive(prost::Message)]
pub struct Build {
    #[prost(uint32, tag = "1")]
    oldest: u32,
    #[prost(uint32, tag = "2")]
    newest: u32,
    #[prost(uint32, tag = "3")]
    behavior: u32,
    #[prost(string, tag = "4")]
    release: String,
}

impl From<&frame::Hello> for Hello {
    fn from(hello: &frame::Hello) -> Self {
        Self {
            cluster: id_bytes(hello.cluster.0),
            region: hello.region.as_str().into(),
            node: hello.node.as_ref().map(NodeId::from),
            address: hello.address.clone(),
            build: Some((&hello.build).into()),
        }
    }
}

impl TryFrom<Hello> for frame::Hello {
    type Error = Fault;

    fn try_from(hello: Hello) -> Result<Self, Fault> {
        Ok(Self {
            cluster: ClusterId(id("hello.cluster", &hello.cluster)?),
            region: region("hello.region", &hello.region)?,
            node: optional(hello.node)?,
            address: hello.address,
            build: required("hello.build", hello.build)?,
        })
    }
}

impl From<&frame::Build> for Build {
    fn from(build: &frame::Build) -> Self {
        let frame::Build { protocols, behavior, release } = build;
        Self {
            oldest: protocols.oldest.into(),
            newest: protocols.newest.into(),
            behavior: behavior.0.into(),
            release: release.clone(),
        }
    }
}

impl TryFrom<Build> for frame::Build {
    type Error = Fault;

    fn try_from(build: Build) -> Result<Self, Fault> {
        let Build { oldest, newest, behavior, release } = build;
        if oldest == 0 || newest < oldest {
            return Err(Fault::malformed("build.protocols", format_args!("{oldest} to {newest} are no versions")));
        }
        Ok(Self {
            protocols: frame::Protocols {
                oldest: narrow("build.oldest", oldest)?,
                newest: narrow("build.newest", newest)?,
            },
            behavior: version("build.behavior", behavior)?,
            release,
        })
    }
}
