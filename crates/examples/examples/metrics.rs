//! All statistics of a store as metrics, in the text format that Prometheus scrapes.
//!
//! `cargo run --example metrics`

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use shadow_vars::{IdStats, ShadowId, ShadowStore, Stats, global};

/// The statistics of a store. Each scrape reads them once, so that all metrics are of one time.
#[derive(Debug)]
struct StoreCollector {
    /// The value of the label `store`.
    name: &'static str,
    store: &'static ShadowStore,
}

impl Collector for StoreCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        Scrape(encoder, self.name).store(&self.store.stats())
    }
}

/// One scrape of the store with this name.
struct Scrape<'e>(DescriptorEncoder<'e>, &'static str);

impl Scrape<'_> {
    fn store(&mut self, stats: &Stats) -> fmt::Result {
        let seconds = |age: Option<Duration>| age.map_or(0.0, |age| age.as_secs_f64());

        self.gauge("live", "Live variables", None, stats.live as f64)?;
        self.counter("created", "Variables created", stats.created)?;
        self.counter("freed", "Variables freed", stats.freed)?;
        self.counter("ctor_failed", "Constructors that failed", stats.ctor_failed)?;
        self.counter("drop_panics", "Values whose drop panicked", stats.drop_panics)?;
        self.counter(
            "weigh_panics",
            "Panics of functions that weigh values",
            stats.weigh_panics,
        )?;

        self.counter("growths", "Times that the table grew", stats.growths)?;
        self.counter("shrinks", "Times that the table shrank", stats.shrinks)?;
        self.counter(
            "rebuilds",
            "Times that the table was rebuilt to remove tombs",
            stats.rebuilds,
        )?;
        self.gauge("capacity", "Slots of the table", None, stats.capacity as f64)?;
        self.gauge("claimed", "Slots claimed by a key", None, stats.claimed as f64)?;
        self.gauge("tombs", "Claimed slots without a variable", None, stats.tombs as f64)?;
        self.gauge("load", "Claimed slots, as a part of all", None, stats.load)?;

        self.gauge(
            "retired_objects",
            "Freed values not dropped yet",
            None,
            stats.retired_objects as f64,
        )?;
        self.gauge(
            "retired",
            "Memory of freed values not dropped yet",
            BYTES,
            stats.retired_bytes as f64,
        )?;
        self.gauge(
            "oldest_retired",
            "How long the oldest has waited",
            SECONDS,
            seconds(stats.oldest_retired),
        )?;
        self.gauge("old_guards", "Guards held for too long", None, stats.old_guards as f64)?;
        self.gauge(
            "oldest_guard",
            "Age of the oldest of these",
            SECONDS,
            seconds(stats.oldest_guard),
        )?;
        self.gauge(
            "held_back",
            "Freed memory that waits for it",
            BYTES,
            stats.held_back_bytes as f64,
        )?;
        self.gauge(
            "unsettled_readers",
            "Readers that delay reclamation",
            None,
            stats.unsettled_readers as f64,
        )?;
        self.gauge(
            "packed",
            "Memory held for small variables",
            BYTES,
            stats.packed_bytes as f64,
        )?;
        self.gauge(
            "packed_free",
            "How much of it is free",
            BYTES,
            stats.packed_free_bytes as f64,
        )?;

        self.ids("ids_live", "Live variables", MetricType::Gauge, &stats.ids, |id| {
            id.live
        })?;
        self.ids(
            "ids_created",
            "Variables created",
            MetricType::Counter,
            &stats.ids,
            |id| id.created,
        )?;
        self.ids("ids_freed", "Variables freed", MetricType::Counter, &stats.ids, |id| {
            id.freed
        })
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let Self(encoder, store) = self;
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric
            .encode_family(&[("store", *store)])?
            .encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
        let Self(encoder, store) = self;
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        metric.encode_family(&[("store", *store)])?.encode_gauge(&value)
    }

    /// Writes one statistic of all ids, labelled by id and type.
    fn ids(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        ids: &[IdStats],
        of: fn(&IdStats) -> u64,
    ) -> fmt::Result {
        let Self(encoder, store) = self;
        let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
        for id in ids {
            let hex = format!("{:#x}", id.id);
            let labels = [("store", *store), ("id", &hex), ("type", &id.type_name)];
            let mut metric = metric.encode_family(&labels)?;
            match kind {
                MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&of(id), None)?,
                _ => metric.encode_gauge(&(of(id) as f64))?,
            }
        }
        Ok(())
    }
}

const BYTES: Option<&Unit> = Some(&Unit::Bytes);
const SECONDS: Option<&Unit> = Some(&Unit::Seconds);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::with_prefix("shadow_vars");
    let (name, store) = ("global", global());
    registry.register_collector(Box::new(StoreCollector { name, store }));

    const HITS: ShadowId<u64> = ShadowId::new(7);
    const NOTES: ShadowId<String> = ShadowId::new(8);
    let objects = [0_u8; 3];
    let vars = store.pin();
    for object in &objects {
        vars.alloc(object, HITS, 1)?;
    }
    vars.alloc(&objects[0], NOTES, "slow client".to_owned())?;
    vars.free(&objects[2], HITS);

    // The body of the answer to a scrape.
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    print!("{page}");

    // A statistic that a later version adds is not forgotten here.
    for name in serde_json::to_value(Stats::default())?
        .as_object()
        .into_iter()
        .flat_map(|stats| stats.keys())
    {
        assert!(
            page.contains(&format!("\nshadow_vars_{name}")),
            "{name} is not exported"
        );
    }
    Ok(())
}
