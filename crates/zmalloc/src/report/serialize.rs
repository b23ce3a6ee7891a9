//! A report for serde, under key names that stay. The table of them is on [`Report`].

use super::{AllocatorReport, Report};
use crate::ledger::{ClassTotals, Details, size_class_limit};
use crate::process::MemorySize;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Report", KEYS)?;
        self.serialize_keys(&mut map)?;
        map.end()
    }
}

pub(crate) const KEYS: usize = 13;

impl Report {
    /// The keys alone, for a map that has more.
    pub(crate) fn serialize_keys<M: SerializeStruct>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_field("used", &self.used)?;
        map.serialize_field("peak", &self.peak)?;
        map.serialize_field("allocated_total", &self.allocated_total)?;
        map.serialize_field("freed_total", &self.freed_total)?;
        map.serialize_field("requested", &self.requested())?;
        map.serialize_field("threads", &self.threads)?;
        map.serialize_field("rss", &self.rss)?;
        map.serialize_field("private_dirty", &self.private_dirty)?;
        map.serialize_field("fragmentation_ratio", &self.fragmentation_ratio())?;
        map.serialize_field("fragmentation_bytes", &self.fragmentation_bytes())?;
        map.serialize_field("allocator", &self.allocator)?;
        map.serialize_field("memory_size", &Size(&self.memory_size))?;
        map.serialize_field("details", &self.details.as_ref().map(Counted))
    }
}

impl Serialize for AllocatorReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let version = Some(self.version.as_str()).filter(|version| !version.is_empty());
        let mut map = serializer.serialize_struct("AllocatorReport", 7)?;
        map.serialize_field("name", self.name)?;
        map.serialize_field("version", &version)?;
        map.serialize_field("allocated", &self.statistics.allocated)?;
        map.serialize_field("active", &self.statistics.active)?;
        map.serialize_field("resident", &self.statistics.resident)?;
        map.serialize_field("retained", &self.statistics.retained)?;
        map.serialize_field("muzzy", &self.statistics.muzzy)?;
        map.end()
    }
}

/// The memory size with what follows from it.
struct Size<'a>(&'a MemorySize);

impl Serialize for Size<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("MemorySize", 3)?;
        map.serialize_field("physical", &self.0.physical)?;
        map.serialize_field("cgroup_limit", &self.0.cgroup_limit)?;
        map.serialize_field("effective", &self.0.effective_bytes())?;
        map.end()
    }
}

struct Counted<'a>(&'a Details);

impl Serialize for Counted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Details", 3)?;
        map.serialize_field("blocks_allocated", &self.0.blocks_allocated())?;
        map.serialize_field("blocks_live", &self.0.blocks_live())?;
        map.serialize_field("classes", &Classes(&self.0.classes))?;
        map.end()
    }
}

/// The classes that were used: of 128 a program uses a few dozen.
struct Classes<'a>(&'a [ClassTotals]);

impl Serialize for Classes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let used = self.0.iter().enumerate().filter(|(_, totals)| **totals != ClassTotals::default());
        serializer.collect_seq(used.map(|(class, totals)| Class {
            limit: Some(size_class_limit(class)).filter(|&limit| limit != usize::MAX),
            totals,
        }))
    }
}

#[derive(Serialize)]
struct Class<'a> {
    limit: Option<usize>,
    #[serde(flatten)]
    totals: &'a ClassTotals,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{empty_example, example};

    #[test]
    fn keys_and_values_stay() {
        let expected = serde_json::json!({
            "used": 104857600, "peak": 167772160, "allocated_total": 3221225472u64, "freed_total": 3116367872u64,
            "requested": 94371840, "threads": 4, "rss": 157286400, "private_dirty": 146804736,
            "fragmentation_ratio": 1.5, "fragmentation_bytes": 52428800,
            "allocator": {
                "name": "jemalloc", "version": "5.3.1-0-g81034ce1",
                "allocated": 109051904, "active": 136314880, "resident": 149946368, "retained": 8388608, "muzzy": 0,
            },
            "memory_size": { "physical": 17179869184u64, "cgroup_limit": 536870912, "effective": 536870912 },
            "details": {
                "blocks_allocated": 11, "blocks_live": 7,
                "classes": [
                    {
                        "limit": 16, "blocks_allocated": 10, "bytes_allocated": 160,
                        "blocks_freed": 4, "bytes_freed": 64,
                    },
                    {
                        "limit": null, "blocks_allocated": 1, "bytes_allocated": 1099511627776u64,
                        "blocks_freed": 0, "bytes_freed": 0,
                    },
                ],
            },
        });
        assert_eq!(serde_json::to_value(example()).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_null_under_the_same_keys() {
        let (full, empty) = (serde_json::to_value(example()).unwrap(), serde_json::to_value(empty_example()).unwrap());
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&full), keys(&empty));
        assert!(empty["rss"].is_null() && empty["allocator"].is_null() && empty["details"].is_null());
    }
}
