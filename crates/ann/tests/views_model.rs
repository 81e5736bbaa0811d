//! Patches and versions under every interleaving of threads, and every value that the memory model permits (loom
//! explores them): no row is written while it is read, and a view never changes.
//!
//! The modules are compiled a second time, with loom's reference counter. The row is a cell that fails when it is
//! written while it is read.

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

use memory::Patches;

#[path = "../src/hash.rs"]
mod hash;

#[path = "../src/memory"]
mod memory {
    mod patches;
    mod versions;

    pub(crate) use patches::Patches;
}

mod sync {
    pub use loom::sync::Arc;
}

/// A table of one row with one value.
struct Table {
    row: Arc<UnsafeCell<u32>>,
    patches: Patches<u32>,
}

// The model finds out whether this is safe.
#[expect(unsafe_code, reason = "a pointer into a cell of the model")]
// SAFETY: the model fails if two threads access the row at once and one of them writes.
unsafe impl Send for Table {}
#[expect(unsafe_code, reason = "a pointer into a cell of the model")]
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    fn new() -> Self {
        Self { row: Arc::new(UnsafeCell::new(0)), patches: Patches::default() }
    }

    fn read(&self) -> u32 {
        #[expect(unsafe_code, reason = "a pointer into a cell of the model")]
        // SAFETY: as above.
        let held = || self.row.with(|row| unsafe { *row });
        self.patches.get(0).map_or_else(held, |row| row[0])
    }

    fn put(row: &UnsafeCell<u32>, value: u32) {
        #[expect(unsafe_code, reason = "a pointer into a cell of the model")]
        // SAFETY: as above.
        row.with_mut(|row| unsafe { *row = value });
    }

    fn write(&mut self, value: u32) {
        match self.patches.write(0, || [u32::MAX].into()) {
            Some(row) => row[0] = value,
            None => Self::put(&self.row, value),
        }
    }

    fn view(&mut self) -> Self {
        let Self { row, patches } = self;
        patches.take().iter().for_each(|(_, value)| Self::put(row, value[0]));
        Self { row: Arc::clone(row), patches: patches.view(1) }
    }
}

/// The last view issued, and its expected content.
type Latest = Arc<Mutex<Arc<(u32, Table)>>>;

fn read(latest: &Latest) {
    let view = Arc::clone(&latest.lock().expect("no panic"));
    // Both reads are of one view.
    assert_eq!([view.1.read(), view.1.read()], [view.0; 2]);
}

#[test]
fn no_row_is_written_while_it_is_read() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let mut table = Table::new();
        let latest: Latest = Arc::new(Mutex::new(Arc::new((0, table.view()))));
        let readers = [0; 2].map(|_| {
            let latest = Arc::clone(&latest);
            thread::spawn(move || read(&latest))
        });
        // The second write finds a patch; the third view merges it back or not, depending on live views.
        for value in 1..=4 {
            table.write(value);
            let next = Arc::new((value, table.view()));
            drop(std::mem::replace(&mut *latest.lock().expect("no panic"), next));
        }
        readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
        assert_eq!(table.read(), 4);
    });
}

/// When all views are dropped, the row itself is written, after all their reads.
#[test]
fn a_row_is_written_in_place_without_views() {
    loom::model(|| {
        let mut table = Table::new();
        let view = table.view();
        let reader = thread::spawn(move || assert_eq!(view.read(), 0));
        table.write(1);
        let is_patched = table.patches.len() == 1;
        reader.join().expect("no panic");
        drop(table.view());
        assert_eq!((table.patches.len(), table.read()), (0, 1), "patched before: {is_patched}");
        table.write(2);
        assert_eq!((table.patches.len(), table.read()), (0, 2));
    });
}
