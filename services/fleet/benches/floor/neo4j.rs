//! The bare driver: the writes of a transition as the least statement that makes them, and
//! the reads of a task and a story.

use neo4rs::{BoltList, BoltMap, BoltString, BoltType, ConfigBuilder, Graph, Query};
use serde_json::{Map, Value};

/// Labels and relationships as the product writes them; no conditions, no marker.
const WRITE: &str = "\
MERGE (t:Entity {_key: $run._key}) SET t = $run SET t:TaskRun
WITH t
CALL (t) { UNWIND $hops AS hop CREATE (h:Entity:TaskTransition) SET h = hop CREATE (t)-[:HAS_HOP]->(h) }
CALL () { UNWIND $timers AS timer MERGE (x:Entity {_key: timer._key}) SET x = timer SET x:Timer }
CALL () { UNWIND $gone AS key MATCH (x:Entity {_key: key}) DETACH DELETE x }
CALL () { UNWIND $events AS event CREATE (o:Entity:Outbox) SET o = event }
FINISH";

/// What a step of a task has left in the graph.
const CAPTURE: &str = "\
MATCH (t:Entity {_key: $run})
OPTIONAL MATCH (x:Entity {_key: $timer})
CALL (t) { MATCH (t)-[:HAS_HOP]->(h) WHERE h.seq > $seq RETURN collect(properties(h)) AS hops }
CALL () { MATCH (o:Outbox) WHERE o.aggregate = $task RETURN collect(properties(o)) AS events }
RETURN properties(t) AS run, properties(x) AS timer, hops, events";

const READ_STORY: &str = "MATCH (n:Entity {_key: $key}) RETURN properties(n) AS node";
const READ_VERSION: &str = "\
MATCH (n:Entity {_key: $key})-[:HAS_CONTEXT]->(c) RETURN n._version + c._version AS version";
const READ_WHOLE: &str = "\
MATCH (s:Entity {_key: $key})
CALL (s) { MATCH (s)-[:HAS_TASK]->(t) OPTIONAL MATCH (t)-[:HAS_RUN]->(r)
  RETURN collect(properties(t)) + collect(properties(r)) AS tasks }
CALL (s) { MATCH (s)-[:HAS_DECISION]->(d) RETURN collect(properties(d)) AS decisions }
CALL (s) { MATCH (s)-[:HAS_DECISION]->(d)-[e:AFFECTS|DEPENDS_ON|SUPERSEDES|ALTERNATIVE_OF]->(x)
  RETURN collect([d._key, type(e), x._key]) AS relations }
RETURN properties(s) AS story, tasks, decisions, relations";
const READ_TASK: &str = "\
MATCH (n:Entity {_key: $key})
OPTIONAL MATCH (n)-[:HAS_HOP]->(h)
RETURN properties(n) AS node, collect(properties(h)) AS hops";

/// What one step of a task writes.
#[derive(Clone, Debug)]
pub struct Step {
    run: Value,
    hops: Vec<Value>,
    timer: Option<Value>,
    events: Vec<Value>,
}

impl Step {
    /// The payload of its first event.
    pub fn payload(&self) -> String {
        self.events[0]["payload"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Whether every hop has its event.
    pub fn is_whole(&self) -> bool {
        !self.hops.is_empty() && self.events.len() >= self.hops.len()
    }

    /// The same step of another task, with ids of its own.
    fn of(&self, template: &str, task: &str) -> Self {
        let to = |value: &Value| -> Value {
            serde_json::from_str(&value.to_string().replace(template, task)).unwrap()
        };
        let event = |value: &Value| {
            let mut event = to(value);
            let id = uuid::Uuid::now_v7().to_string();
            event["_key"] = format!("Outbox/floor-{id}").into();
            event["id"] = id.into();
            // Nobody relays it.
            event["_deployment"] = "floor".into();
            event
        };
        let timer = self.timer.as_ref().map(|timer| {
            let mut timer = to(timer);
            timer["deployment"] = "floor".into();
            timer
        });
        Self {
            run: to(&self.run),
            hops: self.hops.iter().map(to).collect(),
            timer,
            events: self.events.iter().map(event).collect(),
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}+{}+{}",
            2 + self.hops.len(),
            self.hops.len(),
            self.events.len()
        )
    }
}

/// A bare driver on the server.
pub struct Bare {
    graph: Graph,
}

impl Bare {
    /// Connects.
    pub fn connect(uri: &str, user: &str, password: &str) -> Self {
        let config = ConfigBuilder::new()
            .uri(uri)
            .user(user)
            .password(password)
            .build()
            .unwrap();
        Self {
            graph: Graph::connect(config).unwrap(),
        }
    }

    async fn row(&self, query: Query) -> Option<neo4rs::Row> {
        let mut rows = self.graph.execute_read(query).await.unwrap();
        let row = rows.next().await.unwrap();
        rows.finish().await.unwrap();
        row
    }

    /// One statement in a transaction of its own.
    pub async fn write(&self, query: Query) {
        let mut txn = self.graph.start_txn().await.unwrap();
        txn.run(query).await.unwrap();
        txn.commit().await.unwrap();
    }

    /// What the step that was just made wrote; `seen` collects the ids of events.
    pub async fn capture(&self, task: &str, seq: i64, seen: &mut Vec<String>) -> Step {
        let query = Query::new(CAPTURE.into())
            .param("run", format!("TaskRun/{task}"))
            .param("timer", format!("Timer/{task}"))
            .param("task", task)
            .param("seq", seq);
        let row = self.row(query).await.expect("the task is in the graph");
        let mut events: Vec<Value> = row.get("events").unwrap();
        events.retain(|event| {
            let id = event["id"].as_str().unwrap_or_default().to_owned();
            let fresh = !seen.contains(&id);
            seen.push(id);
            fresh
        });
        Step {
            run: row.get("run").unwrap(),
            hops: row.get("hops").unwrap(),
            timer: row.get("timer").unwrap(),
            events,
        }
    }

    /// The state of a task before its first step, to be written unmeasured.
    pub fn begin(step: &Step, template: &str, task: &str) -> Query {
        let step = Step {
            hops: Vec::new(),
            events: Vec::new(),
            ..step.clone()
        };
        Self::prepare(&step, template, task)
    }

    /// The writes of a step for another task.
    pub fn prepare(step: &Step, template: &str, task: &str) -> Query {
        let step = step.of(template, task);
        let gone = if step.timer.is_some() {
            vec![]
        } else {
            vec![Value::from(format!("Timer/{task}"))]
        };
        Query::new(WRITE.into())
            .param("run", bolt(&step.run))
            .param("hops", bolt(&Value::Array(step.hops)))
            .param(
                "timers",
                bolt(&Value::Array(step.timer.into_iter().collect())),
            )
            .param("gone", bolt(&Value::Array(gone)))
            .param("events", bolt(&Value::Array(step.events)))
    }

    /// Reads a story's node.
    pub async fn story(&self, id: &str) -> Map<String, Value> {
        let query = Query::new(READ_STORY.into()).param("key", format!("Story/{id}"));
        self.row(query).await.unwrap().get("node").unwrap()
    }

    /// Reads a task's run with its history.
    pub async fn task(&self, id: &str) -> (Map<String, Value>, Vec<Map<String, Value>>) {
        let query = Query::new(READ_TASK.into()).param("key", format!("TaskRun/{id}"));
        let row = self.row(query).await.unwrap();
        (row.get("node").unwrap(), row.get("hops").unwrap())
    }

    /// The versions of a story's context, as small a read as there is.
    pub async fn version(&self, story: &str) -> i64 {
        let query = Query::new(READ_VERSION.into()).param("key", format!("Story/{story}"));
        self.row(query).await.unwrap().get("version").unwrap()
    }

    /// A story with its tasks, their runs, its decisions, and what those have to do with each
    /// other: everything, in one query. Gives how many decisions there are.
    pub async fn whole(&self, story: &str) -> usize {
        let query = Query::new(READ_WHOLE.into()).param("key", format!("Story/{story}"));
        let row = self.row(query).await.unwrap();
        let decisions: Vec<Map<String, Value>> = row.get("decisions").unwrap();
        let tasks: Vec<Map<String, Value>> = row.get("tasks").unwrap();
        let relations: Vec<Vec<String>> = row.get("relations").unwrap();
        std::hint::black_box((tasks, relations));
        decisions.len()
    }

    /// Takes away what this bench wrote itself.
    pub async fn clean(&self) {
        const CLEAN: &str = "\
MATCH (n:Entity) WHERE n._key STARTS WITH $prefix
WITH n LIMIT 2000 DETACH DELETE n RETURN count(*) AS n";
        let own = [
            "Story/s-copy-",
            "TaskRun/T-floor-",
            "TaskTransition/T-floor-",
            "Timer/T-floor-",
            "Outbox/floor-",
        ];
        for prefix in own {
            loop {
                let query = Query::new(CLEAN.into()).param("prefix", prefix);
                let mut txn = self.graph.start_txn().await.unwrap();
                let mut rows = txn.execute(query).await.unwrap();
                let row = rows.next(&mut txn).await.unwrap().unwrap();
                rows.finish(&mut txn).await.unwrap();
                txn.commit().await.unwrap();
                if row.get::<i64>("n").unwrap() == 0 {
                    break;
                }
            }
        }
    }
}

/// A JSON value as the driver's.
fn bolt(value: &Value) -> BoltType {
    match value {
        Value::String(text) => BoltType::String(BoltString::new(text)),
        Value::Bool(is) => (*is).into(),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().unwrap().into(),
        },
        Value::Array(items) => {
            let items: Vec<BoltType> = items.iter().map(bolt).collect();
            BoltType::List(BoltList::from(items))
        }
        Value::Object(map) => {
            let mut bolted = BoltMap::with_capacity(map.len());
            for (name, value) in map {
                bolted.put(BoltString::new(name), bolt(value));
            }
            BoltType::Map(bolted)
        }
        Value::Null => BoltType::Null(neo4rs::BoltNull),
    }
}
