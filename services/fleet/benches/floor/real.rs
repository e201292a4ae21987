//! On Neo4j and NATS: a transition and two reads beside the bare driver, the bare publish and
//! a bare call; a page of stories beside the same page of a hundred times as many.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use fleet_graph_neo4j::{Neo4j, Settings};
use secrecy::SecretString;

use crate::echo::Echo;
use crate::embedded::copies;
use crate::neo4j::{Bare, Step};
use crate::play::{Clients, STEPS, Story};
use crate::product::Product;
use crate::report::{Report, median_of, short};

/// Turns of product and floor.
pub const TURNS: usize = 9;
/// Tasks that are walked in one turn.
const TASKS: usize = 10;
/// Tasks that are walked before anything counts: the server compiles what is hot.
const WARM: usize = 60;
/// Reads in one turn.
const READS: usize = 300;
/// Stories of a graph that has grown.
const OTHERS: usize = 100_000;

/// Where the servers are.
pub struct Servers {
    nats: String,
    neo4j: String,
    user: String,
    password: String,
    /// Nobody else works on them.
    pub own: bool,
    deployment: String,
}

impl Servers {
    /// What the environment names, or what it lacks.
    pub fn from_environment() -> Result<Self, String> {
        let var = |name: &str| std::env::var(name).map_err(|_| format!("{name} not set"));
        Ok(Self {
            nats: var("FLEET_TEST_NATS_URL")?,
            neo4j: var("FLEET_TEST_NEO4J_URI")?,
            user: var("FLEET_TEST_NEO4J_USER").unwrap_or_else(|_| "neo4j".into()),
            password: var("FLEET_TEST_NEO4J_PASSWORD")?,
            own: std::env::var("FLEET_TEST_OWN_SERVERS").is_ok(),
            deployment: format!("bench{}", std::process::id()),
        })
    }

    /// As the product is told.
    pub fn variables(&self) -> Vec<(&str, &str)> {
        vec![
            ("NATS_URL", &self.nats),
            ("NEO4J_URI", &self.neo4j),
            ("NEO4J_USER", &self.user),
            ("NEO4J_PASSWORD", &self.password),
            ("FLEET_DEPLOYMENT", &self.deployment),
        ]
    }

    /// `fleet up` on these servers.
    pub async fn up(&self) -> Product {
        self.up_with(&[]).await
    }

    /// Likewise, with some more variables.
    pub async fn up_with(&self, more: &[(&str, &str)]) -> Product {
        let variables = [&self.variables(), more].concat();
        Product::up(&[], &variables).ready().await
    }

    /// The graph as the product writes it.
    pub fn store(&self) -> Neo4j {
        let password = SecretString::from(self.password.clone());
        let settings = Settings::new(&self.neo4j, &self.user, password);
        Neo4j::connect(settings).unwrap()
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(&self.nats).await.unwrap())
    }

    /// Takes away the streams of this run.
    pub async fn clean(&self) {
        use futures::StreamExt as _;
        let bus = self.jetstream().await;
        let prefix = self.deployment.to_uppercase();
        let names: Vec<_> = bus.stream_names().collect().await;
        for name in names
            .into_iter()
            .flatten()
            .filter(|name| name.starts_with(&prefix))
        {
            let _ = bus.delete_stream(name).await;
        }
    }
}

/// The bare publish: one message, acknowledged.
struct Publisher {
    bus: jetstream::Context,
    stream: String,
}

impl Publisher {
    async fn open(servers: &Servers) -> Self {
        let bus = servers.jetstream().await;
        let stream = format!("{}_FLOOR", servers.deployment.to_uppercase());
        let config = jetstream::stream::Config {
            name: stream.clone(),
            subjects: vec![format!("{stream}.>")],
            discard: jetstream::stream::DiscardPolicy::New,
            duplicate_window: Duration::from_secs(600),
            ..Default::default()
        };
        bus.create_stream(config).await.unwrap();
        Self { bus, stream }
    }

    async fn publish(&self, payload: String) {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", uuid::Uuid::now_v7().to_string());
        let subject = format!("{}.changed", self.stream);
        let sent = self
            .bus
            .publish_with_headers(subject, headers, payload.into())
            .await
            .unwrap();
        sent.await.unwrap();
    }
}

/// Everything that needs the servers.
pub async fn run(servers: &Servers, wanted: &impl Fn(&str) -> bool, report: &mut Report) {
    if !["transition", "reads", "context", "listing"]
        .into_iter()
        .any(wanted)
    {
        return;
    }
    let product = servers.up().await;
    let clients = Clients::connect(&product.planning, &product.workflow).await;
    let bare = Bare::connect(&servers.neo4j, &servers.user, &servers.password);
    let epic = clients.epic().await;
    if wanted("transition") || wanted("reads") {
        let count = if wanted("transition") {
            1 + WARM + TURNS * TASKS
        } else {
            1 + WARM
        };
        let story = clients.story(&epic, count).await;
        let steps = walk_one(&clients, &bare, &story.tasks[0]).await;
        for task in &story.tasks[1..=WARM] {
            walk(&clients, task).await;
        }
        if wanted("transition") {
            transition(servers, &clients, &bare, &story, &steps, report).await;
        }
        if wanted("reads") {
            reads(&clients, &bare, &story, report).await;
        }
    }
    let mut context = None;
    if wanted("context") {
        let measured =
            crate::context::neo4j(servers, &product, &clients, &bare, &epic, report).await;
        context = Some(measured);
    }
    if servers.own {
        // Both need a graph that has grown; it grows once.
        let draft = clients.draft(&epic).await;
        if wanted("listing") {
            listing(servers, &clients, &draft, report).await;
        } else if context.is_some() {
            copies(&servers.store(), &draft, 0, OTHERS).await;
        }
        if let Some(context) = &mut context {
            context.beside(OTHERS, report).await;
        }
    } else if wanted("listing") {
        let why = "100,000 stories would be in the way of others; scripts/bench".to_owned();
        report.skip("ListStories on Neo4j", &why);
    }
    if let Some(context) = context {
        context.grown(report).await;
    }
    product.stop().await;
    bare.clean().await;
    servers.clean().await;
}

/// Walks a task step by step and notes what each step wrote.
async fn walk_one(clients: &Clients, bare: &Bare, task: &str) -> Vec<Step> {
    let (mut steps, mut seen, mut epoch, mut seq) = (Vec::new(), Vec::new(), 0, 0);
    bare.capture(task, seq, &mut seen).await;
    for step in 0..STEPS {
        seq = i64::try_from(clients.state(task).await.unwrap().history.len()).unwrap();
        epoch = clients.step(task, step, epoch).await;
        steps.push(bare.capture(task, seq, &mut seen).await);
    }
    assert!(
        steps.iter().all(Step::is_whole),
        "the relay was faster than the look: run it again"
    );
    steps
}

async fn walk(clients: &Clients, task: &str) -> Vec<Duration> {
    let (mut times, mut epoch) = (Vec::with_capacity(STEPS), 0);
    for step in 0..STEPS {
        let at = Instant::now();
        epoch = clients.step(task, step, epoch).await;
        times.push(at.elapsed());
    }
    times
}

/// The floor of a walk: for each step the same writes and one publish.
struct FloorWalk {
    write: Vec<Duration>,
    publish: Vec<Duration>,
}

async fn floor_walk(
    bare: &Bare,
    bus: &Publisher,
    steps: &[Step],
    from: &str,
    task: &str,
) -> FloorWalk {
    let mut walk = FloorWalk {
        write: Vec::new(),
        publish: Vec::new(),
    };
    bare.write(Bare::begin(&steps[0], from, task)).await;
    for step in steps {
        let query = Bare::prepare(step, from, task);
        let payload = step.payload();
        let at = Instant::now();
        bare.write(query).await;
        walk.write.push(at.elapsed());
        let at = Instant::now();
        bus.publish(payload).await;
        walk.publish.push(at.elapsed());
    }
    walk
}

async fn transition(
    servers: &Servers,
    clients: &Clients,
    bare: &Bare,
    story: &Story,
    steps: &[Step],
    report: &mut Report,
) {
    let bus = Publisher::open(servers).await;
    let template = &story.tasks[0];
    let floor_task = |n: usize| format!("T-floor-{}-{n}", std::process::id());
    for n in 0..WARM {
        floor_walk(bare, &bus, steps, template, &floor_task(n)).await;
    }
    let (mut product, mut floor, mut writes, mut publishes) = (vec![], vec![], vec![], vec![]);
    let mut tasks = story.tasks[1 + WARM..].chunks(TASKS);
    for turn in 0..TURNS {
        // What one leaves behind (the relay's last batch) is not the other's burden.
        quiet().await;
        let mut times = Vec::new();
        for task in tasks.next().unwrap() {
            times.extend(walk(clients, task).await);
        }
        product.push(times);
        quiet().await;
        let (mut write, mut publish) = (Vec::new(), Vec::new());
        for n in 0..TASKS {
            let task = floor_task(WARM + turn * TASKS + n);
            let walk = floor_walk(bare, &bus, steps, template, &task).await;
            write.extend(walk.write);
            publish.extend(walk.publish);
        }
        floor.push(
            write
                .iter()
                .zip(&publish)
                .map(|(a, b)| *a + *b)
                .collect::<Vec<_>>(),
        );
        writes.push(write);
        publishes.push(publish);
    }
    report.ratio(
        "transition through gRPC, Neo4j + NATS, c1, p50",
        &product,
        &floor,
        1.5,
    );
    let (write, publish) = (short(median_of(&writes)), short(median_of(&publishes)));
    report.note(
        "  of the floor: transaction, publish",
        format!("{write}, {publish}"),
    );
    let sizes: Vec<String> = steps.iter().map(Step::to_string).collect();
    report.note(
        "  nodes+relationships+events of the six steps",
        sizes.join(" "),
    );
}

/// Waits until what was asked before has left the machine.
pub async fn quiet() {
    tokio::time::sleep(Duration::from_millis(600)).await;
}

async fn reads(clients: &Clients, bare: &Bare, story: &Story, report: &mut Report) {
    let task = &story.tasks[1];
    let echo = Echo::default();
    echo.answer(
        "/fleet.planning.v2.PlanningService/GetStory",
        &clients.get_story(&story.id).await,
    );
    let state = clients.state(task).await.unwrap();
    let hops = state.history.len();
    echo.answer(
        "/fleet.workflow.v1.WorkflowOrchestrationService/GetWorkflowState",
        &state,
    );
    let uri = echo.start().await;
    let bounced = Clients::connect(&uri, &uri).await;

    let mut turns = Turns::default();
    for turn in 0..=TURNS {
        let (mut ours, mut least, mut bounce) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..READS {
            let at = Instant::now();
            clients.get_story(&story.id).await;
            ours.push(at.elapsed());
            let at = Instant::now();
            assert!(bare.story(&story.id).await.contains_key("title"));
            let read = at.elapsed();
            let at = Instant::now();
            bounced.get_story(&story.id).await;
            bounce.push(at.elapsed());
            least.push(read + at.elapsed());
        }
        turns.add(turn, ours, least, bounce);
    }
    report.ratio("GetStory on Neo4j, c1, p50", &turns.ours, &turns.least, 1.5);
    report.note(
        "  of the floor: a bare call",
        short(median_of(&turns.bounce)),
    );

    let mut turns = Turns::default();
    for turn in 0..=TURNS {
        let (mut ours, mut least, mut bounce) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..READS {
            let at = Instant::now();
            clients.state(task).await.unwrap();
            ours.push(at.elapsed());
            let at = Instant::now();
            assert_eq!(bare.task(task).await.1.len(), hops);
            let read = at.elapsed();
            let at = Instant::now();
            bounced.state(task).await.unwrap();
            bounce.push(at.elapsed());
            least.push(read + at.elapsed());
        }
        turns.add(turn, ours, least, bounce);
    }
    let what = format!("GetWorkflowState on Neo4j, {hops} steps, c1, p50");
    report.ratio(&what, &turns.ours, &turns.least, 1.5);
    report.note(
        "  of the floor: a bare call",
        short(median_of(&turns.bounce)),
    );
}

/// Turns of a read; the first one only warms.
#[derive(Default)]
pub struct Turns {
    pub ours: Vec<Vec<Duration>>,
    pub least: Vec<Vec<Duration>>,
    pub bounce: Vec<Vec<Duration>>,
}

impl Turns {
    /// Keeps what a turn took.
    pub fn add(
        &mut self,
        turn: usize,
        ours: Vec<Duration>,
        least: Vec<Duration>,
        bounce: Vec<Duration>,
    ) {
        if turn > 0 {
            self.ours.push(ours);
            self.least.push(least);
            self.bounce.push(bounce);
        }
    }
}

async fn listing(servers: &Servers, clients: &Clients, draft: &str, report: &mut Report) {
    let mut pages = Vec::new();
    for (from, to) in [(0, 1_000), (1_000, OTHERS)] {
        copies(&servers.store(), draft, from, to).await;
        pages.push(crate::embedded::pages(clients).await);
    }
    crate::embedded::compare("Neo4j", &pages[0], &pages[1], report);
}
