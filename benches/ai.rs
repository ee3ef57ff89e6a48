//! How long a sentence takes to become a rule, beside reading the same rule from JSON: what a client would send who
//! wrote the rule by hand. One element is one sentence, on one core.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crm_core::{
    ai::sentence::{Language, read},
    rule::Rule,
    tenancy::Currency,
};

const SENTENCES: [&str; 4] = [
    "Users inactive for 6 months and spent > ₹5K",
    "customers who haven't visited in 90 days",
    "spent over 5K and (visits under 3 or inactive for 1 year)",
    "spend between 1k and 1,00,000 or visited at least 10 times, but not dormant for more than 2 quarters",
];

fn sentences(c: &mut Criterion) {
    let Ok(currency) = Currency::parse("INR") else { return };
    let language = Language::of_customers(currency);
    let rules: Vec<String> = SENTENCES
        .iter()
        .filter_map(|text| read(text, &language, false).ok())
        .map(|reading| reading.rule.to_json().as_str().to_owned())
        .collect();
    assert_eq!(rules.len(), SENTENCES.len(), "every sentence is understood");
    let mut group = c.benchmark_group("a sentence as a rule");
    group.throughput(Throughput::Elements(u64::try_from(SENTENCES.len()).unwrap_or(1)));
    group.bench_function("floor: the rule from JSON", |b| {
        b.iter(|| {
            for rule in &rules {
                black_box(Rule::parse(black_box(rule), language.catalog(), "rules_json").is_ok());
            }
        });
    });
    group.bench_function("the rule from words", |b| {
        b.iter(|| {
            for text in SENTENCES {
                black_box(read(black_box(text), &language, false).is_ok());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, sentences);
criterion_main!(benches);
