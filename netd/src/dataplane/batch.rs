//! Reading a whole map, thousands of entries for each system call (BPF_MAP_LOOKUP_BATCH, Linux 5.6). An iterator over
//! keys takes two calls for each entry, and begins anew where its last key is gone.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{
    Pod,
    maps::{IterableMap, MapData, PerCpuValues},
};
use nix::libc;

use crate::error::{Error, Result};

/// Entries asked for at a time, where each has one value.
const CHUNK: usize = 4096;
/// As [`CHUNK`], where each processor has one.
const CHUNK_PER_CPU: usize = 256;

/// Hands each entry of a hash map to `visit`; `name` is for errors. One that comes or goes meanwhile may be missed.
pub fn for_each<K: Pod, V: Pod>(
    map: &impl IterableMap<K, V>,
    name: &str,
    mut visit: impl FnMut(&K, &V),
) -> Result<()> {
    let each = |key: &K, values: &[V]| values.iter().for_each(|value| visit(key, value));
    walk(map.map(), CHUNK, 1, each).map_err(|e| refused(name, &e))
}

/// As [`for_each`], of a map whose entries have a value for each processor.
pub fn for_each_per_cpu<K: Pod, V: Pod>(
    map: &impl IterableMap<K, PerCpuValues<V>>,
    name: &str,
    visit: impl FnMut(&K, &[V]),
) -> Result<()> {
    const {
        // The kernel rounds values of such maps up to eight bytes.
        assert!(size_of::<V>().is_multiple_of(8));
    }
    let cpus = aya::util::nr_cpus().map_err(|(what, e)| Error::internal(what, e))?;
    walk(map.map(), CHUNK_PER_CPU, cpus, visit).map_err(|e| refused(name, &e))
}

fn refused(name: &str, e: &io::Error) -> Error {
    Error::internal(format!("reading map {name}"), e)
}

/// `width`: values of each entry.
fn walk<K: Pod, V: Pod>(
    map: &MapData,
    chunk: usize,
    width: usize,
    mut visit: impl FnMut(&K, &[V]),
) -> io::Result<()> {
    let mut page = Page::<K, V>::with_room(chunk, width);
    loop {
        match page.read(map.fd().as_fd()) {
            Ok(()) => page.entries().for_each(|(key, values)| visit(key, values)),
            Err(e) => match e.raw_os_error() {
                // The end; the last entries come with it.
                Some(libc::ENOENT) => {
                    page.entries().for_each(|(key, values)| visit(key, values));
                    return Ok(());
                }
                // More entries with one hash than there is room for: the same place again, with more.
                Some(libc::ENOSPC) => page.grow(),
                _ => return Err(e),
            },
        }
    }
}

/// Place in a hash map: the number of a bucket.
type Place = u32;

/// One call's entries, and where the next call goes on.
struct Page<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    width: usize,
    next: Option<Place>,
}

/// `struct { … } batch` of `union bpf_attr` (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

impl<K: Pod, V: Pod> Page<K, V> {
    fn with_room(entries: usize, width: usize) -> Self {
        Self {
            keys: Vec::with_capacity(entries),
            values: Vec::with_capacity(entries * width),
            width,
            next: None,
        }
    }

    /// Entries that fit.
    fn room(&self) -> usize {
        self.keys
            .capacity()
            .min(self.values.capacity() / self.width)
    }

    fn grow(&mut self) {
        let room = self.room() * 2;
        self.keys = Vec::with_capacity(room);
        self.values = Vec::with_capacity(room * self.width);
    }

    fn entries(&self) -> impl Iterator<Item = (&K, &[V])> {
        self.keys.iter().zip(self.values.chunks_exact(self.width))
    }

    /// Reads on. What came stands in the page, also after ENOENT; after ENOSPC nothing came.
    fn read(&mut self, map: BorrowedFd<'_>) -> io::Result<()> {
        const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
        self.keys.clear();
        self.values.clear();
        let room = self.room();
        let mut after: Place = 0;
        let mut attr = Batch {
            in_batch: self.next.as_ref().map_or(0, |p| &raw const *p as u64),
            out_batch: &raw mut after as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: u32::try_from(room).unwrap_or(u32::MAX),
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: the pointers are to places that live longer than the call; a hash map's place has 4 bytes
        // (`__htab_map_lookup_and_delete_batch`), its keys and values have the sizes of `K` and `V` (one for each
        // possible processor), which aya checked when it took the map, and the kernel writes at most `count` of them.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                &raw mut attr,
                size_of::<Batch>(),
            )
        };
        let error = (done != 0).then(io::Error::last_os_error);
        let code = error.as_ref().and_then(io::Error::raw_os_error);
        let came = match code {
            None => attr.count as usize,
            Some(libc::ENOENT) => attr.count as usize,
            Some(_) => 0,
        };
        let came = came.min(room);
        // SAFETY: the kernel filled as many of each, and any bytes are a valid `K` or `V`.
        unsafe {
            self.keys.set_len(came);
            self.values.set_len(came * self.width);
        }
        match error {
            None => {
                self.next = Some(after);
                Ok(())
            }
            Some(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aya::maps::{HashMap, PerCpuHashMap};

    use super::*;

    /// Over a real map; needs root.
    #[test]
    fn every_entry_is_seen_once() {
        let mut map = HashMap::<MapData, u32, [u64; 3]>::create(20_000, 0).expect("root");
        let seen = |map: &HashMap<MapData, u32, [u64; 3]>, chunk| {
            let mut found = Vec::new();
            let visit = |k: &u32, v: &[[u64; 3]]| found.push((*k, v.to_vec()));
            walk(map.map(), chunk, 1, visit).unwrap();
            let once: BTreeSet<_> = found.iter().cloned().collect();
            assert_eq!(once.len(), found.len());
            once
        };
        assert!(seen(&map, CHUNK).is_empty());
        let value = |i: u32| [i.into(), 1, 2];
        let entries: BTreeSet<_> = (0..10_000).map(|i| (i * 7, vec![value(i)])).collect();
        for (key, values) in &entries {
            map.insert(key, values[0], 0).unwrap();
        }
        assert_eq!(seen(&map, CHUNK), entries);
        // Some buckets hold more entries than fit.
        assert_eq!(seen(&map, 1), entries);
    }

    /// As above, with a value for each processor.
    #[test]
    fn each_processors_value_is_seen() {
        let mut map = PerCpuHashMap::<MapData, u32, u64>::create(1000, 0).expect("root");
        let cpus = aya::util::nr_cpus().unwrap();
        let values = |key: u32| {
            (0..cpus)
                .map(|cpu| u64::from(key) + cpu as u64)
                .collect::<Vec<_>>()
        };
        for key in 0..700 {
            let all = PerCpuValues::try_from(values(key)).unwrap();
            map.insert(key, all, 0).unwrap();
        }
        let mut found = BTreeSet::new();
        for_each_per_cpu(&map, "TEST", |key: &u32, all: &[u64]| {
            assert_eq!(all, values(*key));
            assert!(found.insert(*key));
        })
        .unwrap();
        assert_eq!(found.len(), 700);
    }
}
