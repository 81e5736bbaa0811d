//! Nodes and links of the graph.

use std::collections::VecDeque;
use std::sync::Arc;

use meridian_pages::Pages;

use crate::hash::{SlotMap, splitmix64};
use crate::memory::Rows;
use crate::neighbor::Neighbor;
use crate::params::BLOCK;

use super::scorer::{PreparedQuery, Scorer};

/// The absent node.
pub(crate) const NO_NODE: u32 = u32::MAX;

/// Highest level; with `m` of 2 it has one node in 65,536.
pub(crate) const MAX_LEVEL: usize = 16;

/// Links of one node on levels 1 and up.
type UpperLinks = Arc<Vec<Vec<u32>>>;

/// One-sided incoming links: nodes that link to a node without a link back, in no order. A boxed slice, because there
/// are many of these lists.
#[derive(Default)]
struct IncomingList(Box<[u32]>);

impl IncomingList {
    fn add(&mut self, node: u32) {
        let mut list = std::mem::take(&mut self.0).into_vec();
        list.reserve_exact(1);
        list.push(node);
        self.0 = list.into_boxed_slice();
    }

    /// False if the node is not in the list.
    fn remove(&mut self, node: u32) -> bool {
        let Some(at) = self.0.iter().position(|x| *x == node) else { return false };
        let mut list = std::mem::take(&mut self.0).into_vec();
        list.swap_remove(at);
        self.0 = list.into_boxed_slice();
        true
    }
}

/// Directed links per level (Malkov and Yashunin, arXiv 1603.09320). A node is deleted without a search: the nodes that
/// link to it are among its own links and in its list of one-sided links. The spanning tree is described in
/// `spanning_tree.rs`.
pub(crate) struct Graph {
    pub m: usize,
    pub ef_construct: usize,
    pub seed: u64,
    /// Level 0, per node: the number of links, then the links, at most `2 m`.
    base: Rows<u32>,
    /// Levels 1 and up, per node; one node in `m` has them.
    upper: Pages<Option<UpperLinks>>,
    /// Entry point: a node of the highest level.
    pub entry: Option<u32>,
    // --- not part of views ---
    /// Level 0, per node.
    one_sided: Vec<IncomingList>,
    /// Levels 1 and up, of the nodes that have them.
    one_sided_above: SlotMap<Vec<IncomingList>>,
    /// Per node: insert sequence number, from 1, never reused; 0 for a free node.
    pub(super) insert_seq: Vec<u64>,
    /// Per node: its parent, an older node, see `spanning_tree.rs`.
    pub(super) parent: Vec<u32>,
    /// Per node: number of children.
    pub(super) children: Vec<u16>,
    /// Sequence number of the last insert.
    pub last_insert_seq: u64,
    /// The last [`BLOCK`] inserts or more: sequence number and node, oldest first; some may be deleted.
    newest: VecDeque<(u64, u32)>,
    /// Nodes with changed outgoing or incoming links on level 0 since [`Self::take_changed`], with repetitions.
    changed: Vec<u32>,
}

impl Graph {
    pub fn new(m: usize, ef_construct: usize, seed: u64) -> Self {
        Self {
            m,
            ef_construct,
            seed,
            base: Rows::new(1 + 2 * m),
            upper: Pages::default(),
            entry: None,
            one_sided: Vec::new(),
            one_sided_above: SlotMap::default(),
            insert_seq: Vec::new(),
            parent: Vec::new(),
            children: Vec::new(),
            last_insert_seq: 0,
            newest: VecDeque::new(),
            changed: Vec::new(),
        }
    }

    /// Number of nodes, including free ones.
    pub fn nodes(&self) -> u32 {
        self.base.len() as u32
    }

    /// The current links, for searches.
    pub fn view(&mut self) -> Self {
        let (base, upper) = (self.base.view(), self.upper.clone());
        Self { base, upper, entry: self.entry, ..Self::new(self.m, self.ef_construct, self.seed) }
    }

    /// As [`Self::view`], with what a snapshot holds beside links. Cost: a copy of 12 bytes per node.
    pub fn image(&mut self) -> Self {
        let (insert_seq, parent, last_insert_seq) =
            (self.insert_seq.clone(), self.parent.clone(), self.last_insert_seq);
        Self { insert_seq, parent, last_insert_seq, ..self.view() }
    }

    /// As [`Rows::patched_rows`].
    pub fn patched_rows(&self) -> usize {
        self.base.patched_rows()
    }

    pub fn level(&self, node: u32) -> usize {
        self.upper.get(node as usize).and_then(Option::as_ref).map_or(0, |levels| levels.len())
    }

    /// Maximum number of links of a node on a level.
    pub fn max_links(&self, level: usize) -> usize {
        if level == 0 { 2 * self.m } else { self.m }
    }

    #[inline]
    pub fn links(&self, node: u32, level: usize) -> &[u32] {
        if level == 0 {
            let row = self.base.row(node);
            &row[1..=row[0] as usize]
        } else {
            &self.upper[node as usize].as_ref().expect("a node that is linked to on a level has it")[level - 1]
        }
    }

    /// Nodes that link to `node`, ascending.
    pub(super) fn incoming(&self, node: u32, level: usize) -> Vec<u32> {
        let one_sided =
            if level == 0 { &self.one_sided[node as usize] } else { &self.one_sided_above[&node][level - 1] };
        let links = self.links(node, level).iter().copied();
        let mut into: Vec<u32> = links.filter(|x| self.is_linked(*x, node, level)).collect();
        into.extend(&one_sided.0);
        into.sort_unstable();
        into
    }

    pub(super) fn is_linked(&self, from: u32, to: u32, level: usize) -> bool {
        self.links(from, level).contains(&to)
    }

    fn one_sided_mut(&mut self, node: u32, level: usize) -> &mut IncomingList {
        if level == 0 {
            return &mut self.one_sided[node as usize];
        }
        &mut self.one_sided_above.get_mut(&node).expect("a node that links on a level has it")[level - 1]
    }

    /// Nodes with changed outgoing or incoming links on level 0 since the last call, ascending.
    pub fn take_changed(&mut self) -> Vec<u32> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Forgets the changed nodes, where no packed neighbors depend on them.
    pub fn clear_changed(&mut self) {
        self.changed.clear();
    }

    /// Links of a node on level 0, followed by the nearest of its one-sided incoming links up to the maximum. These
    /// were near enough to select the node, which preferred others.
    pub(super) fn surrounding(&self, node: u32, scorer: Scorer<'_>, query: &mut PreparedQuery) -> Vec<u32> {
        let mut surrounding = self.links(node, 0).to_vec();
        let neighbors = scorer.sorted(node, self.one_sided[node as usize].0.iter().copied(), query);
        let max = self.max_links(0) - surrounding.len();
        surrounding.extend(neighbors.iter().take(max).map(|neighbor| neighbor.id()));
        surrounding
    }

    /// Replaces the links of a node and updates the lists of one-sided links. Remaining links keep their positions
    /// while the list grows, so that data stored beside them stays valid.
    pub(super) fn set_links(&mut self, node: u32, level: usize, new: &[u32]) {
        let old = self.links(node, level).to_vec();
        let mut added = new.iter().copied().filter(|x| !old.contains(x)).collect::<Vec<_>>().into_iter();
        for x in added.clone() {
            // The link was one-sided in the other direction and becomes mutual, or it is one-sided now.
            if !self.one_sided_mut(node, level).remove(x) {
                self.one_sided_mut(x, level).add(node);
            }
            self.mark_changed(x, level);
        }
        let mut list = Vec::with_capacity(new.len());
        for x in old {
            if new.contains(&x) {
                list.push(x);
                continue;
            }
            list.extend(added.next());
            if !self.one_sided_mut(x, level).remove(node) {
                self.one_sided_mut(node, level).add(x);
            }
            self.mark_changed(x, level);
        }
        list.extend(added);
        self.mark_changed(node, level);
        if level == 0 {
            let row = self.base.row_mut(node);
            row[0] = list.len() as u32;
            row[1..=list.len()].copy_from_slice(&list);
        } else {
            let levels = self.upper.get_mut(node as usize).and_then(Option::as_mut);
            Arc::make_mut(levels.expect("a node that links on a level has it"))[level - 1] = list;
        }
    }

    fn mark_changed(&mut self, node: u32, level: usize) {
        if level == 0 {
            self.changed.push(node);
        }
    }

    /// Adds links to a node. Beyond the maximum, keeps the links of the spanning tree and those that the heuristic
    /// selects (Alg. 4 without its extensions).
    pub(super) fn connect_with_pruning(
        &mut self,
        node: u32,
        level: usize,
        extra: &[u32],
        scorer: Scorer<'_>,
        query: &mut PreparedQuery,
    ) {
        let mut list = self.links(node, level).to_vec();
        for x in extra {
            if *x != node && !list.contains(x) {
                list.push(*x);
            }
        }
        let max = self.max_links(level);
        if list.len() > max {
            let neighbors = scorer.sorted(node, list.iter().copied(), query);
            let (mut kept, rest): (Vec<Neighbor>, Vec<Neighbor>) =
                neighbors.into_iter().partition(|x| level == 0 && self.is_tree_link(node, x.id()));
            select_neighbors_heuristic(&rest, max, &mut kept, scorer, query);
            list = kept.iter().map(|x| x.id()).collect();
        }
        self.set_links(node, level, &list);
    }

    /// Level of a node, drawn from the seed and its insert sequence number, so that each level holds one node in `m` of
    /// the level below.
    pub(super) fn level_of(&self, insert_seq: u64) -> usize {
        let mut draw = splitmix64(self.seed ^ splitmix64(insert_seq));
        let mut level = 0;
        while level < MAX_LEVEL && draw.is_multiple_of(self.m as u64) {
            level += 1;
            draw = splitmix64(draw);
        }
        level
    }

    /// Initializes a node with the next insert sequence number.
    pub(super) fn allocate_node(&mut self, node: u32, level: usize) {
        self.last_insert_seq += 1;
        let last_insert_seq = self.last_insert_seq;
        self.init_node(node, last_insert_seq, level);
        self.newest.push_back((last_insert_seq, node));
        if self.newest.len() > BLOCK {
            self.newest.pop_front();
        }
    }

    /// Nodes inserted after a sequence number, of the last [`BLOCK`] inserts.
    pub(super) fn inserted_after(&self, insert_seq: u64) -> impl Iterator<Item = u32> {
        let newest = self.newest.iter().copied().filter(move |(seq, _)| *seq > insert_seq);
        newest.filter(|(seq, node)| self.insert_seq[*node as usize] == *seq).map(|(_, node)| node)
    }

    /// Initializes a node without links: a free one, or the next new one.
    fn init_node(&mut self, node: u32, insert_seq: u64, level: usize) {
        if node == self.nodes() {
            self.base.push(&vec![0; 1 + 2 * self.m]);
            self.upper.push(None);
            self.one_sided.push(IncomingList::default());
            self.insert_seq.push(0);
            self.parent.push(NO_NODE);
            self.children.push(0);
        }
        debug_assert_eq!(self.insert_seq[node as usize], 0, "node {node} was in use");
        self.insert_seq[node as usize] = insert_seq;
        if level > 0 {
            *self.upper.get_mut(node as usize).expect("one of the nodes") = Some(Arc::new(vec![Vec::new(); level]));
            self.one_sided_above.entry(node).or_default().resize_with(level, IncomingList::default);
        }
    }

    /// Frees a node without links and incoming links.
    pub(super) fn free_node(&mut self, node: u32) {
        debug_assert!(self.incoming(node, 0).is_empty() && self.links(node, 0).is_empty());
        self.insert_seq[node as usize] = 0;
        *self.upper.get_mut(node as usize).expect("one of the nodes") = None;
        self.one_sided_above.remove(&node);
        self.parent[node as usize] = NO_NODE;
        if self.entry == Some(node) {
            let in_use = (0..self.nodes()).filter(|node| self.insert_seq[*node as usize] != 0);
            self.entry = in_use.max_by_key(|node| (self.level(*node), std::cmp::Reverse(*node)));
        }
    }

    /// Nodes reachable from the entry point over level 0, including it.
    pub fn reachable_nodes(&self) -> Vec<u32> {
        let mut seen = vec![false; self.nodes() as usize];
        let mut reached: Vec<u32> = self.entry.into_iter().collect();
        reached.iter().for_each(|node| seen[*node as usize] = true);
        let mut next = 0;
        while let Some(node) = reached.get(next).copied() {
            next += 1;
            for x in self.links(node, 0) {
                if !std::mem::replace(&mut seen[*x as usize], true) {
                    reached.push(*x);
                }
            }
        }
        reached
    }

    pub fn bytes(&self) -> usize {
        let list = |list: &IncomingList| size_of::<IncomingList>() + list.0.len() * 4;
        let links_bytes = |links: &Vec<u32>| size_of::<Vec<u32>>() + links.len() * 4;
        let upper = self.upper.iter().flatten().flat_map(|levels| &**levels).map(links_bytes).sum::<usize>();
        let above = self.one_sided_above.values().flatten().map(list).sum::<usize>()
            + self.one_sided_above.capacity() * (size_of::<(u32, Vec<IncomingList>)>() + 1);
        let one_sided = self.one_sided.iter().map(list).sum::<usize>() + above;
        self.base.bytes() + self.upper.bytes() + upper + one_sided + self.insert_seq.len() * 14
    }

    /// Insert sequence number and parent of a node, for the snapshot; number 0 marks a free node.
    pub fn seq_and_parent(&self, node: u32) -> (u64, u32) {
        (self.insert_seq[node as usize], self.parent[node as usize])
    }

    /// Adds the next node of a snapshot; calls of [`Self::restore_links`] and [`Self::finish_restore`] must follow.
    pub fn restore_node(&mut self, insert_seq: u64, parent: u32, level: usize) {
        let node = self.nodes();
        self.init_node(node, insert_seq, level);
        self.parent[node as usize] = parent;
    }

    /// Sets the links of a snapshot; false unless they lead to other nodes of that level, each once.
    pub fn restore_links(&mut self, node: u32, level: usize, links: &[u32]) -> bool {
        let leads =
            |x: &u32| *x < self.nodes() && *x != node && self.insert_seq[*x as usize] != 0 && self.level(*x) >= level;
        let repeats = links.iter().enumerate().any(|(i, x)| links[..i].contains(x));
        if links.len() > self.max_links(level) || repeats || !links.iter().all(leads) {
            return false;
        }
        self.set_links(node, level, links);
        true
    }

    /// Derives what a snapshot leaves out; false if it does not describe a valid graph.
    pub fn finish_restore(&mut self) -> bool {
        let in_use = || (0..self.nodes()).filter(|node| self.insert_seq[*node as usize] != 0);
        let highest = in_use().map(|node| self.level(node)).max();
        let entry_stands = match self.entry {
            None => highest.is_none(),
            Some(entry) => {
                entry < self.nodes() && self.insert_seq[entry as usize] != 0 && Some(self.level(entry)) == highest
            }
        };
        let mut seqs: Vec<u64> = in_use().map(|node| self.insert_seq[node as usize]).collect();
        seqs.sort_unstable();
        self.newest = in_use().map(|node| (self.insert_seq[node as usize], node)).collect();
        self.newest.make_contiguous().sort_unstable();
        self.newest.drain(..self.newest.len().saturating_sub(BLOCK));
        let seqs_differ = seqs.windows(2).all(|pair| pair[0] < pair[1]);
        entry_stands
            && seqs_differ
            && seqs.last().is_none_or(|last| *last <= self.last_insert_seq)
            && self.last_insert_seq < u64::MAX / 2
            && self.restore_tree()
    }
}

/// Adds nodes from `sorted` (nearest first) to `kept`, up to `most`, that are nearer to the origin than to any node
/// kept (`SELECT-NEIGHBORS-HEURISTIC`, Alg. 4).
pub(super) fn select_neighbors_heuristic(
    sorted: &[Neighbor],
    most: usize,
    kept: &mut Vec<Neighbor>,
    scorer: Scorer<'_>,
    query: &mut PreparedQuery,
) {
    for neighbor in sorted {
        if kept.len() >= most {
            break;
        }
        scorer.set_query_node(neighbor.id(), query);
        if kept.iter().all(|k| scorer.neighbor(query, k.id()).distance() >= neighbor.distance()) {
            kept.push(*neighbor);
        }
    }
}
