//! Does one part a number of times, for `scripts/instructions` to count: `count NAME TIMES`; without words, the names.

use ledgerhook_hot::{PARTS, Run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        PARTS.iter().for_each(|part| println!("{}", part.name));
        return Ok(());
    };
    let times: u32 = words.next().ok_or("how many times?")?.parse()?;
    let part = PARTS.iter().find(|part| part.name == name).ok_or("no such part")?;
    let mut run = (part.prepare)();
    // Whatever is made at the first time is not counted: compiled templates, the index of routes.
    run();
    counted(&mut run, times);
    Ok(())
}

/// The counter runs while this does, and knows it by its name.
#[inline(never)]
fn counted(run: &mut Run, times: u32) {
    (0..times).for_each(|_| run());
}
