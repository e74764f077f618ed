//! Times each part: `cargo bench --manifest-path benches/hot/Cargo.toml -- parse`.

use criterion::{Criterion, criterion_group, criterion_main};
use ledgerhook_hot::PARTS;

fn time(criterion: &mut Criterion) {
    for part in PARTS {
        criterion.bench_function(part.name, |bencher| bencher.iter((part.prepare)()));
    }
}

criterion_group!(parts, time);
criterion_main!(parts);
