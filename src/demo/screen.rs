//! The terminal: a table of lanes that is drawn again and again, or plain lines where there is no terminal.

use super::{client::Client, receiver::Receiver};
use serde_json::Value;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    time::Instant,
};

/// Lines of the story that stay on the screen.
const STORY: usize = 6;

/// What is shown.
pub(super) struct Screen {
    started: Instant,
    speed: f64,
    /// Whether frames are drawn; not any more once the story is over.
    live: Cell<bool>,
    story: RefCell<VecDeque<String>>,
    pipelines: RefCell<Vec<Watched>>,
    /// Lines that the last frame took.
    drawn: Cell<usize>,
}

/// A pipeline whose lanes are shown.
struct Watched {
    id: String,
    name: &'static str,
    receiver: &'static str,
    /// Depth and state by resource, as the API told last; lanes that have emptied stay.
    lanes: BTreeMap<String, (u64, String)>,
}

impl Screen {
    pub(super) fn new(speed: f64) -> Self {
        Self {
            started: Instant::now(),
            speed,
            live: Cell::new(std::io::stdout().is_terminal()),
            story: RefCell::default(),
            pipelines: RefCell::default(),
            drawn: Cell::new(0),
        }
    }

    /// Adds a line to the story.
    pub(super) fn say(&self, text: &str) {
        let line = format!("{:>6.2}s  {text}", self.started.elapsed().as_secs_f64());
        if !self.live.get() {
            println!("{line}");
            return;
        }
        let mut story = self.story.borrow_mut();
        story.push_back(line);
        if story.len() > STORY {
            story.pop_front();
        }
    }

    /// Shows a pipeline's lanes from now on.
    pub(super) fn watch(&self, id: &str, name: &'static str, receiver: &'static str) {
        let lanes = BTreeMap::new();
        self.pipelines.borrow_mut().push(Watched { id: id.to_owned(), name, receiver, lanes });
    }

    /// Asks for the lanes and draws a frame.
    pub(super) async fn draw(&self, client: &Client) {
        if !self.live.get() {
            return;
        }
        let ids: Vec<_> = self.pipelines.borrow().iter().map(|pipeline| pipeline.id.clone()).collect();
        for (index, id) in ids.iter().enumerate() {
            let Ok(listed) = client.get(&format!("/api/pipelines/{id}/lanes")).await else { continue };
            if let Some(pipeline) = self.pipelines.borrow_mut().get_mut(index) {
                pipeline.take(&listed);
            }
        }
        self.paint();
    }

    fn paint(&self) {
        let mut frame = String::new();
        let seconds = self.started.elapsed().as_secs_f64();
        let speed = self.speed;
        let _ = writeln!(
            frame,
            "\x1b[1mledgerhook demo\x1b[0m  {seconds:.1}s, retry delays divided by {speed}\n"
        );
        let _ =
            writeln!(frame, "\x1b[2mpipeline    receiver  lane                         waiting  head\x1b[0m");
        for Watched { name, receiver, lanes, .. } in &*self.pipelines.borrow() {
            if lanes.is_empty() {
                let _ = writeln!(frame, "{name:<11} {receiver:<9} \x1b[32m(nothing has to wait)\x1b[0m");
            }
            for (resource, (depth, state)) in lanes {
                let color = match state.as_str() {
                    "in_flight" => 36,
                    "retrying" => 33,
                    "held" => 31,
                    "idle" => 32,
                    _ => 37,
                };
                let _ = writeln!(
                    frame,
                    "{name:<11} {receiver:<9} {resource:<28} {depth:>7}  \x1b[{color}m{state}\x1b[0m"
                );
            }
        }
        frame.push('\n');
        for line in &*self.story.borrow() {
            let _ = writeln!(frame, "{line}");
        }
        let lines = frame.matches('\n').count();
        let frame = frame.replace('\n', "\x1b[K\n");
        let up = self.drawn.replace(lines);
        let back = if up > 0 { format!("\x1b[{up}A\r") } else { String::new() };
        print!("{back}{frame}\x1b[J");
        let _ = std::io::stdout().flush();
    }

    /// Draws the last frame; what is printed from now on stays below.
    pub(super) fn leave(&self) {
        if self.live.get() {
            self.paint();
            self.live.set(false);
        }
    }

    /// The end of the story in numbers.
    pub(super) fn summary(&self, receivers: &[&Receiver], state: &Value) {
        println!("\nreceiver   taken  refused");
        for receiver in receivers {
            println!("{:<9} {:>6} {:>8}", receiver.name, receiver.succeeded(), receiver.refused());
        }
        let deliveries = &state["deliveries"];
        println!(
            "\n{} events, {} delivered, {} dead-lettered, in {:.1}s",
            state["events"],
            deliveries["delivered"],
            deliveries["dead_lettered"],
            self.started.elapsed().as_secs_f64()
        );
    }
}

impl Watched {
    fn take(&mut self, listed: &Value) {
        for lane in self.lanes.values_mut() {
            *lane = (0, "idle".to_owned());
        }
        for lane in listed["items"].as_array().into_iter().flatten() {
            let text = |key: &str| lane[key].as_str().unwrap_or_default().to_owned();
            self.lanes.insert(text("resource"), (lane["depth"].as_u64().unwrap_or(0), text("state")));
        }
    }
}
