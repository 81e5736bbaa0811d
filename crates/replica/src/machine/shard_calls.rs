//! Calls to this replica's shard, and their answers.

use meridian_model::ReplicaId;
use meridian_proto::frame::{CallAnswer, PeerMessage, ShardAnswer, ShardCall};

use super::Replica;
use crate::context::{Ctx, DOUBT};
use crate::effect::Requester;
use crate::reads::ReadCall;
use crate::writes::Admission;
use crate::{Command, ReadWhat, positions, reads, writes};

impl Replica {
    pub(super) fn shard_call(&mut self, from: Requester, call: ShardCall) {
        let own = self.identity.replica;
        let fault = self.out_of_service.as_deref().or_else(|| self.is_in_doubt().then_some(DOUBT));
        if let Some(fault) = fault {
            return self.answer(from, ShardAnswer::Busy(format!("replica {own} is out of service: {fault}")));
        }
        match call {
            _ if call.is_read() && !self.consensus.is_caught_up() => {
                // The state may lack acknowledged writes, or differ from the group's.
                self.answer(from, ShardAnswer::Busy(format!("replica {own} is catching up")));
            }
            ShardCall::Read { collection, query, demand } => {
                self.read(ReadCall::new(from, ReadWhat::Points(collection, query), demand, self.now));
            }
            ShardCall::Match(query, demand) => {
                self.read(ReadCall::new(from, ReadWhat::Match(query), demand, self.now));
            }
            ShardCall::List(demand) => self.read(ReadCall::new(from, ReadWhat::List, demand, self.now)),
            ShardCall::Describe(name, demand) => {
                self.read(ReadCall::new(from, ReadWhat::Describe(name), demand, self.now));
            }
            _ if !self.is_leading() => {
                let leader = self.raft.leader().map(ReplicaId).filter(|id| *id != own);
                self.answer(from, ShardAnswer::NotLeader(leader));
            }
            ShardCall::Await(positions) => part!(self, positions, positions::Event::Await { from, positions }),
            call => {
                let admission = self.admission();
                part!(self, writes, writes::Event::Call { from, call, admission });
            }
        }
    }

    fn read(&mut self, call: ReadCall) {
        let staleness = self.staleness();
        part!(self, reads, reads::Event::Call { call, staleness });
    }

    pub(super) fn admission(&self) -> Admission {
        let group = self.group();
        let growth = self.space.admits_growth(group);
        Admission { growth, elsewhere: !growth && self.space.is_handing_over(group) }
    }

    pub(super) fn answer(&mut self, to: Requester, answer: ShardAnswer) {
        match to {
            Requester::Own(call) => self.answered(None, call, answer),
            Requester::Node(node, call) => {
                self.out.push(Command::Send(node, PeerMessage::Answer(call, CallAnswer::Shard(answer))));
            }
        }
    }
}
