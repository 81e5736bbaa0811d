//! Files and folders in two states: visible to the program, and durable across a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

/// Unit of atomic writes.
pub const SECTOR_BYTES: usize = 512;

pub(super) type NodeId = u64;
const ROOT: NodeId = 0;

pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Default)]
pub(super) struct FileNode {
    visible: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// Names set or removed atomically.
type Change = Vec<(String, Option<NodeId>)>;

#[derive(Default)]
pub(super) struct DirNode {
    visible: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
    unsynced: Vec<Change>,
}

/// Outcome of one operation.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Proceed,
    Fail(ErrorKind),
    /// A crash during the operation.
    Crash,
}

impl Outcome {
    pub(super) fn into_result(self) -> io::Result<()> {
        match self {
            Outcome::Proceed => Ok(()),
            Outcome::Fail(kind) => Err(kind.into()),
            Outcome::Crash => Err(power_is_off()),
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

pub(super) struct State {
    nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    pub(super) generation: u64,
    pub(super) operations: u64,
    pub(super) capacity: u64,
    crash_at: Option<u64>,
    /// First and last failing operation, and the error.
    failure: Option<(u64, u64, ErrorKind)>,
    down: bool,
}

impl Default for State {
    fn default() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::new_dir())]);
        Self {
            nodes,
            next_node: 1,
            generation: 0,
            operations: 0,
            capacity: u64::MAX,
            crash_at: None,
            failure: None,
            down: false,
        }
    }
}

impl State {
    pub(super) fn begin_operation(&mut self) -> io::Result<Outcome> {
        if self.down {
            return Err(power_is_off());
        }
        self.operations += 1;
        if self.crash_at == Some(self.operations) {
            self.down = true;
            return Ok(Outcome::Crash);
        }
        Ok(match self.failure {
            Some((first, last, kind)) if (first..=last).contains(&self.operations) => Outcome::Fail(kind),
            _ => Outcome::Proceed,
        })
    }

    pub(super) fn plan_crash(&mut self, n: u64) {
        self.crash_at = Some(self.operations + n.max(1));
    }

    pub(super) fn plan_failure(&mut self, first: u64, n: u64, kind: ErrorKind) {
        let first = self.operations + first.max(1);
        self.failure = (n > 0).then(|| (first, first.saturating_add(n - 1), kind));
    }

    pub(super) fn is_down(&self) -> bool {
        self.down
    }

    pub(super) fn kill(&mut self) {
        self.generation += 1;
        (self.crash_at, self.failure, self.down) = (None, None, false);
    }

    pub(super) fn wipe(&mut self) {
        self.kill();
        self.nodes = BTreeMap::from([(ROOT, Node::new_dir())]);
    }

    pub(super) fn crash(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        self.kill();
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.crash(choose),
                Node::Dir(dir) => dir.crash(choose),
            }
        }
        self.remove_unlinked();
    }

    /// Removes nodes without a name in any folder.
    fn remove_unlinked(&mut self) {
        let mut named = BTreeSet::new();
        let mut todo = vec![ROOT];
        while let Some(id) = todo.pop() {
            if named.insert(id)
                && let Some(Node::Dir(dir)) = self.nodes.get(&id)
            {
                todo.extend(dir.visible.values());
            }
        }
        self.nodes.retain(|id, _| named.contains(id));
    }

    pub(super) fn find(&self, path: &str) -> io::Result<NodeId> {
        let mut at = ROOT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let Some(Node::Dir(dir)) = self.nodes.get(&at) else { return Err(ErrorKind::NotADirectory.into()) };
            at = *dir.visible.get(part).ok_or_else(|| io::Error::new(ErrorKind::NotFound, path.to_owned()))?;
        }
        Ok(at)
    }

    pub(super) fn add(&mut self, node: Node) -> NodeId {
        self.next_node += 1;
        self.nodes.insert(self.next_node, node);
        self.next_node
    }

    pub(super) fn file(&mut self, id: NodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir(&mut self, id: NodeId) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, id)) = todo.pop() {
            match self.nodes.get(&id) {
                Some(Node::File(file)) => files.push((path, file.bytes())),
                Some(Node::Dir(dir)) => todo.extend(dir.visible.iter().map(|(name, id)| {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    (path, *id)
                })),
                None => {}
            }
        }
        files.sort();
        files
    }

    pub(super) fn used(&self) -> u64 {
        self.files().iter().map(|(_, bytes)| bytes).sum()
    }

    pub(super) fn check_space(&self, bytes: u64) -> io::Result<()> {
        if bytes > 0 && self.capacity != u64::MAX && bytes > self.capacity.saturating_sub(self.used()) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Node {
    pub(super) fn new_file(bytes: u64) -> io::Result<Self> {
        let mut file = FileNode::default();
        file.write(0, &vec![0; usize::try_from(bytes).map_err(io::Error::other)?])?;
        Ok(Node::File(file))
    }

    pub(super) fn new_dir() -> Self {
        Node::Dir(DirNode::default())
    }
}

impl FileNode {
    pub(super) fn bytes(&self) -> u64 {
        self.visible.len() as u64
    }

    pub(super) fn grows_by(&self, offset: u64, bytes: usize) -> u64 {
        (offset + bytes as u64).saturating_sub(self.bytes())
    }

    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = from.checked_add(into.len()).and_then(|to| self.visible.get(from..to));
        into.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        if !bytes.is_empty() {
            put(&mut self.visible, at, bytes);
            self.unsynced.push((at, bytes.to_vec()));
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        for (at, bytes) in self.unsynced.drain(..) {
            put(&mut self.durable, at, &bytes);
        }
    }

    pub(super) fn drop_unsynced(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn flip(&mut self, offset: u64, mask: u8) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        *self.visible.get_mut(at).ok_or(ErrorKind::UnexpectedEof)? ^= mask;
        if let Some(byte) = self.durable.get_mut(at) {
            *byte ^= mask;
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.visible.truncate(bytes);
        self.durable.clone_from(&self.visible);
        self.unsynced.clear();
    }

    fn crash(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        for (at, bytes) in std::mem::take(&mut self.unsynced) {
            match choose(3) {
                0 => {}
                1 => put(&mut self.durable, at, &bytes),
                _ => tear(&mut self.durable, at, &bytes, choose),
            }
        }
        self.visible.clone_from(&self.durable);
    }
}

/// Writes the sectors of `bytes` that `choose` keeps.
fn tear(into: &mut Vec<u8>, at: usize, bytes: &[u8], choose: &mut dyn FnMut(u64) -> u64) {
    let mut done = 0;
    while done < bytes.len() {
        let part = (SECTOR_BYTES - (at + done) % SECTOR_BYTES).min(bytes.len() - done);
        if choose(2) == 1 {
            put(into, at + done, &bytes[done..done + part]);
        }
        done += part;
    }
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

impl DirNode {
    pub(super) fn names(&self) -> Vec<String> {
        self.visible.keys().cloned().collect()
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.visible, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    fn crash(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        for change in std::mem::take(&mut self.unsynced) {
            if choose(2) == 1 {
                apply(&mut self.durable, &change);
            }
        }
        self.visible.clone_from(&self.durable);
    }
}

fn apply(names: &mut BTreeMap<String, NodeId>, change: &Change) {
    for (name, node) in change {
        match node {
            Some(node) => drop(names.insert(name.clone(), *node)),
            None => drop(names.remove(name)),
        }
    }
}
