//! Who links to whom.

use std::collections::VecDeque;
use std::sync::Arc;

use meridian_pages::Pages;

use crate::memory::Rows;
use crate::mix::{SlotMap, mix};
use crate::near::Near;
use crate::queue::BLOCK;

use super::measure::{Measure, Target};

/// Marks the absence of a node.
pub(crate) const NO_NODE: u32 = u32::MAX;

/// Highest floor; with `m` of 2 one node in 65,536 would stand there.
pub(crate) const MAX_LEVEL: usize = 16;

/// The links of one node on its upper floors.
type Floors = Arc<Vec<Vec<u32>>>;

/// Nodes that link to one to which it does not link, in no particular order. It is as long as it must be: there are many.
#[derive(Default)]
struct List(Box<[u32]>);

impl List {
    fn add(&mut self, node: u32) {
        let mut list = std::mem::take(&mut self.0).into_vec();
        list.reserve_exact(1);
        list.push(node);
        self.0 = list.into_boxed_slice();
    }

    /// False if it is not there.
    fn remove(&mut self, node: u32) -> bool {
        let Some(at) = self.0.iter().position(|x| *x == node) else { return false };
        let mut list = std::mem::take(&mut self.0).into_vec();
        list.swap_remove(at);
        self.0 = list.into_boxed_slice();
        true
    }
}

/// Directed links between nodes, floor by floor (Malkov and Yashunin, arXiv 1603.09320), with what lets a node leave without a
/// search: who links to it is found among those it links to, and in its list of one-sided links. And the tree of `tree.rs`.
pub(crate) struct Graph {
    pub m: usize,
    pub ef_construct: usize,
    pub seed: u64,
    /// Floor 0, by node: the number of links, then the links, `2 m` at most.
    base: Rows<u32>,
    /// Floors 1 and up, by node; one in `m` has them.
    upper: Pages<Option<Floors>>,
    /// A node of the highest floor, where walks begin.
    pub entry: Option<u32>,
    // --- what only changes look at ---
    /// Floor 0, by node.
    one_sided: Vec<List>,
    /// Floors 1 and up, of the nodes that have them.
    one_sided_above: SlotMap<Vec<List>>,
    /// By node: when it came, from 1; 0 marks a free node. Never used twice.
    pub(super) birth: Vec<u64>,
    /// By node: the older node it hangs on, see `tree.rs`.
    pub(super) parent: Vec<u32>,
    /// By node: how many hang on it.
    pub(super) children: Vec<u16>,
    /// Births so far.
    pub births: u64,
    /// Nodes and their births, the last [`BLOCK`] or more, oldest first; some may be gone.
    newest: VecDeque<(u64, u32)>,
    /// Nodes whose links on floor 0, to others or from others, have changed since [`Self::take_changed`], some of them more than
    /// once.
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
            birth: Vec::new(),
            parent: Vec::new(),
            children: Vec::new(),
            births: 0,
            newest: VecDeque::new(),
            changed: Vec::new(),
        }
    }

    /// Nodes, the free ones included.
    pub fn nodes(&self) -> u32 {
        self.base.len() as u32
    }

    /// The links as they are now, to be walked.
    pub fn view(&mut self) -> Self {
        let (base, upper) = (self.base.view(), self.upper.clone());
        Self { base, upper, entry: self.entry, ..Self::new(self.m, self.ef_construct, self.seed) }
    }

    /// As [`Self::view`], with what a snapshot holds beside the links. Cost: a copy of 12 bytes a node.
    pub fn image(&mut self) -> Self {
        let (birth, parent, births) = (self.birth.clone(), self.parent.clone(), self.births);
        Self { birth, parent, births, ..self.view() }
    }

    /// As [`Rows::patched`].
    pub fn patched(&self) -> usize {
        self.base.patched()
    }

    pub fn level(&self, node: u32) -> usize {
        self.upper.get(node as usize).and_then(Option::as_ref).map_or(0, |floors| floors.len())
    }

    /// Most links of a node on a floor.
    pub fn room(&self, floor: usize) -> usize {
        if floor == 0 { 2 * self.m } else { self.m }
    }

    #[inline]
    pub fn links(&self, node: u32, floor: usize) -> &[u32] {
        if floor == 0 {
            let row = self.base.row(node);
            &row[1..=row[0] as usize]
        } else {
            &self.upper[node as usize].as_ref().expect("a node that is linked to on a floor stands there")[floor - 1]
        }
    }

    /// Who links to `node`, ascending.
    pub(super) fn incoming(&self, node: u32, floor: usize) -> Vec<u32> {
        let one_sided =
            if floor == 0 { &self.one_sided[node as usize] } else { &self.one_sided_above[&node][floor - 1] };
        let links = self.links(node, floor).iter().copied();
        let mut into: Vec<u32> = links.filter(|x| self.is_linked(*x, node, floor)).collect();
        into.extend(&one_sided.0);
        into.sort_unstable();
        into
    }

    pub(super) fn is_linked(&self, from: u32, to: u32, floor: usize) -> bool {
        self.links(from, floor).contains(&to)
    }

    fn one_sided_mut(&mut self, node: u32, floor: usize) -> &mut List {
        if floor == 0 {
            return &mut self.one_sided[node as usize];
        }
        &mut self.one_sided_above.get_mut(&node).expect("a node that links to a floor stands there")[floor - 1]
    }

    /// Nodes whose links on floor 0, to others or from others, have changed since the last time, ascending.
    pub fn take_changed(&mut self) -> Vec<u32> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// The same where nobody asks which.
    pub fn forget_changed(&mut self) {
        self.changed.clear();
    }

    /// Where a node links to on floor 0, and in what room is left the nearest of those that link to it alone: they were near enough
    /// to choose it, and it preferred others.
    pub(super) fn around(&self, node: u32, measure: Measure<'_>, target: &mut Target) -> Vec<u32> {
        let mut around = self.links(node, 0).to_vec();
        let nears = measure.sorted(node, self.one_sided[node as usize].0.iter().copied(), target);
        let room = self.room(0) - around.len();
        around.extend(nears.iter().take(room).map(|near| near.id()));
        around
    }

    /// Replaces the links of a node and keeps the lists of one-sided links true. Links that stay keep their places while the list grows, so
    /// that what is stored beside them can stay.
    pub(super) fn set_links(&mut self, node: u32, floor: usize, new: &[u32]) {
        let old = self.links(node, floor).to_vec();
        let mut come = new.iter().copied().filter(|x| !old.contains(x)).collect::<Vec<_>>().into_iter();
        for x in come.clone() {
            // Either it linked here alone so far, or now it is linked to alone.
            if !self.one_sided_mut(node, floor).remove(x) {
                self.one_sided_mut(x, floor).add(node);
            }
            self.note_change(x, floor);
        }
        let mut list = Vec::with_capacity(new.len());
        for x in old {
            if new.contains(&x) {
                list.push(x);
                continue;
            }
            list.extend(come.next());
            if !self.one_sided_mut(x, floor).remove(node) {
                self.one_sided_mut(node, floor).add(x);
            }
            self.note_change(x, floor);
        }
        list.extend(come);
        self.note_change(node, floor);
        if floor == 0 {
            let row = self.base.row_mut(node);
            row[0] = list.len() as u32;
            row[1..=list.len()].copy_from_slice(&list);
        } else {
            let floors = self.upper.get_mut(node as usize).and_then(Option::as_mut);
            Arc::make_mut(floors.expect("a node that links to a floor stands there"))[floor - 1] = list;
        }
    }

    fn note_change(&mut self, node: u32, floor: usize) {
        if floor == 0 {
            self.changed.push(node);
        }
    }

    /// Adds links to a node; where there is no room, keeps those of the tree and a diverse choice of the others
    /// (Alg. 4 without its extensions).
    pub(super) fn relink(&mut self, node: u32, floor: usize, extra: &[u32], measure: Measure<'_>, target: &mut Target) {
        let mut list = self.links(node, floor).to_vec();
        for x in extra {
            if *x != node && !list.contains(x) {
                list.push(*x);
            }
        }
        let room = self.room(floor);
        if list.len() > room {
            let nears = measure.sorted(node, list.iter().copied(), target);
            let (mut kept, rest): (Vec<Near>, Vec<Near>) =
                nears.into_iter().partition(|x| floor == 0 && self.is_tree_link(node, x.id()));
            choose_diverse(&rest, room, &mut kept, measure, target);
            list = kept.iter().map(|x| x.id()).collect();
        }
        self.set_links(node, floor, &list);
    }

    /// The highest floor of a node: drawn from the seed and its birth, so that each floor holds one in `m` of the one below.
    pub(super) fn level_of_birth(&self, birth: u64) -> usize {
        let mut draw = mix(self.seed ^ mix(birth));
        let mut level = 0;
        while level < MAX_LEVEL && draw.is_multiple_of(self.m as u64) {
            level += 1;
            draw = mix(draw);
        }
        level
    }

    /// Makes room for a node, the next one born.
    pub(super) fn occupy(&mut self, node: u32, level: usize) {
        self.births += 1;
        let births = self.births;
        self.place(node, births, level);
        self.newest.push_back((births, node));
        if self.newest.len() > BLOCK {
            self.newest.pop_front();
        }
    }

    /// Nodes born after a birth, of the last [`BLOCK`].
    pub(super) fn born_after(&self, birth: u64) -> impl Iterator<Item = u32> {
        let newest = self.newest.iter().copied().filter(move |(born, _)| *born > birth);
        newest.filter(|(born, node)| self.birth[*node as usize] == *born).map(|(_, node)| node)
    }

    /// Puts a node without links in its place; it is a free one, or the next new one.
    fn place(&mut self, node: u32, birth: u64, level: usize) {
        if node == self.nodes() {
            self.base.push(&vec![0; 1 + 2 * self.m]);
            self.upper.push(None);
            self.one_sided.push(List::default());
            self.birth.push(0);
            self.parent.push(NO_NODE);
            self.children.push(0);
        }
        debug_assert_eq!(self.birth[node as usize], 0, "node {node} was in use");
        self.birth[node as usize] = birth;
        if level > 0 {
            *self.upper.get_mut(node as usize).expect("one of the nodes") = Some(Arc::new(vec![Vec::new(); level]));
            self.one_sided_above.entry(node).or_default().resize_with(level, List::default);
        }
    }

    /// Frees a node that nothing links to any more.
    pub(super) fn vacate(&mut self, node: u32) {
        debug_assert!(self.incoming(node, 0).is_empty() && self.links(node, 0).is_empty());
        self.birth[node as usize] = 0;
        *self.upper.get_mut(node as usize).expect("one of the nodes") = None;
        self.one_sided_above.remove(&node);
        self.parent[node as usize] = NO_NODE;
        if self.entry == Some(node) {
            let in_use = (0..self.nodes()).filter(|node| self.birth[*node as usize] != 0);
            self.entry = in_use.max_by_key(|node| (self.level(*node), std::cmp::Reverse(*node)));
        }
    }

    /// Every node that a walk over floor 0 from the entry reaches, the entry included.
    pub fn reached(&self) -> Vec<u32> {
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
        let list = |list: &List| size_of::<List>() + list.0.len() * 4;
        let floor = |links: &Vec<u32>| size_of::<Vec<u32>>() + links.len() * 4;
        let floors = self.upper.iter().flatten().flat_map(|floors| &**floors).map(floor).sum::<usize>();
        let above = self.one_sided_above.values().flatten().map(list).sum::<usize>()
            + self.one_sided_above.capacity() * (size_of::<(u32, Vec<List>)>() + 1);
        let one_sided = self.one_sided.iter().map(list).sum::<usize>() + above;
        self.base.bytes() + self.upper.bytes() + floors + one_sided + self.birth.len() * 14
    }

    /// Birth and parent of a node, for the snapshot; a birth of 0 marks a free node.
    pub fn ancestry(&self, node: u32) -> (u64, u32) {
        (self.birth[node as usize], self.parent[node as usize])
    }

    /// Adds the next node as a snapshot tells it; [`Self::restore_links`] and [`Self::restored`] follow.
    pub fn restore_node(&mut self, birth: u64, parent: u32, level: usize) {
        let node = self.nodes();
        self.place(node, birth, level);
        self.parent[node as usize] = parent;
    }

    /// Sets links as a snapshot tells them; false unless they lead to other nodes of that floor, each once.
    pub fn restore_links(&mut self, node: u32, floor: usize, links: &[u32]) -> bool {
        let leads =
            |x: &u32| *x < self.nodes() && *x != node && self.birth[*x as usize] != 0 && self.level(*x) >= floor;
        let repeats = links.iter().enumerate().any(|(i, x)| links[..i].contains(x));
        if links.len() > self.room(floor) || repeats || !links.iter().all(leads) {
            return false;
        }
        self.set_links(node, floor, links);
        true
    }

    /// Derives what a snapshot leaves out; false if what it told is not a graph of ours.
    pub fn restored(&mut self) -> bool {
        let in_use = || (0..self.nodes()).filter(|node| self.birth[*node as usize] != 0);
        let highest = in_use().map(|node| self.level(node)).max();
        let entry_stands = match self.entry {
            None => highest.is_none(),
            Some(entry) => {
                entry < self.nodes() && self.birth[entry as usize] != 0 && Some(self.level(entry)) == highest
            }
        };
        let mut births: Vec<u64> = in_use().map(|node| self.birth[node as usize]).collect();
        births.sort_unstable();
        self.newest = in_use().map(|node| (self.birth[node as usize], node)).collect();
        self.newest.make_contiguous().sort_unstable();
        self.newest.drain(..self.newest.len().saturating_sub(BLOCK));
        let births_differ = births.windows(2).all(|pair| pair[0] < pair[1]);
        entry_stands
            && births_differ
            && births.last().is_none_or(|last| *last <= self.births)
            && self.births < u64::MAX / 2
            && self.restore_tree()
    }
}

/// Fills `kept` up to `most` from `sorted` (nearest first) with nodes that are nearer to their origin than to any node
/// kept (Alg. 4).
pub(super) fn choose_diverse(
    sorted: &[Near],
    most: usize,
    kept: &mut Vec<Near>,
    measure: Measure<'_>,
    target: &mut Target,
) {
    for near in sorted {
        if kept.len() >= most {
            break;
        }
        measure.aim_at(near.id(), target);
        if kept.iter().all(|k| measure.near(target, k.id()).distance() >= near.distance()) {
            kept.push(*near);
        }
    }
}
