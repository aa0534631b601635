//! Machines on which nothing is wrong, although it may look so: no alert fires there.

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};

use socket2::Socket;

use super::{
    ill::{close_wait, held, listener, pair, place},
    scene::Scene,
    server::{INTERVAL, wait},
};
use crate::{
    V4,
    ends::abort,
    traffic::{self, Pair},
};

const STEP: Duration = Duration::from_millis(100);

/// A port of this namespace on which nobody listens.
fn knock_where_nobody_is() {
    let nobody = "127.0.0.1:9".parse::<std::net::SocketAddr>().unwrap();
    assert!(traffic::socket(nobody.ip()).connect(&nobody.into()).is_err());
}

/// Connections come and go, whoever closes first; now and then one is reset, a port is held, a SYN finds a queue full. Prometheus is reloaded.
pub fn ordinary(scene: &mut Scene<'_>) {
    let slow = listener(1);
    let begun = Instant::now();
    for step in 0_u32.. {
        if !scene.goes_on() {
            break;
        }
        drop(Pair::on(V4).close_client_first());
        drop(Pair::on(V4).close_server_first());
        knock_where_nobody_is();
        if step % 50 == 0 {
            let Pair { client, server, .. } = Pair::on(V4);
            thread::sleep(STEP * 4);
            abort(client);
            drop(server);
            // A server that was started once too often.
            assert!(traffic::socket(place().ip()).bind(&place().into()).is_err());
        }
        if step == 100 {
            scene.reload_prometheus();
        }
        thread::sleep(STEP);
    }
    println!("ordinary: {:?}", begun.elapsed());
    drop(slow);
}

/// Checks of health, which connect and reset; and connects where nobody listens any more. Nothing else goes on.
pub fn checks_of_health(scene: &mut Scene<'_>) {
    let listener = listener(4096);
    while scene.goes_on() {
        let [client, server] = pair(&listener);
        abort(client);
        drop(server);
        knock_where_nobody_is();
        knock_where_nobody_is();
        thread::sleep(STEP);
    }
}

/// A proxy whose peers close first: it has some hundred in CLOSE_WAIT, closes each after some seconds, and gets more and more to do.
pub fn proxy(scene: &mut Scene<'_>) {
    const STAYS: Duration = Duration::from_secs(9);
    let listener = listener(4096);
    let mut kept: VecDeque<(Instant, Socket)> = VecDeque::new();
    for step in 0.. {
        if !scene.goes_on() {
            break;
        }
        for _ in 0..3 + step / 150 {
            kept.push_back((Instant::now(), close_wait(&listener)));
        }
        while kept.front().is_some_and(|(since, _)| since.elapsed() > STAYS) {
            kept.pop_front();
        }
        thread::sleep(STEP);
    }
    assert!(scene.value("max_over_time(tcpwait_sockets{@,state=\"close_wait\"}[2m])") > Some(220.0));
}

/// Connections that have been in CLOSE_WAIT since before the exporter.
pub fn older_ones() -> Vec<Socket> {
    let listener = listener(4096);
    (0..300).map(|_| close_wait(&listener)).chain([listener.try_clone().unwrap()]).collect()
}

/// They are no more and no less, and the exporter is restarted.
pub fn exporter_restarts(scene: &mut Scene<'_>) {
    const EVERY: Duration = Duration::from_secs(20);
    let mut last = Instant::now();
    while scene.goes_on() {
        drop(Pair::on(V4).close_client_first());
        if last.elapsed() > EVERY {
            scene.restart_exporter();
            last = Instant::now();
        }
        thread::sleep(STEP);
    }
}

/// Hundreds of connections towards a new destination at once, which stay: more than half of the ports, and it ends there. The alert that is
/// shipped waits for a minute, and is over sooner.
pub fn burst(scene: &mut Scene<'_>) {
    const WAITS: Duration = Duration::from_secs(60);
    const SHIPPED: &str = "ALERTS{@,alertname=\"TcpwaitPortsSoonExhausted\",time=\"\"}";
    let _burst = held(600);
    let begun = Instant::now();
    wait("the alert is pending", WAITS, || scene.value(SHIPPED).is_some());
    wait("the alert is over", WAITS - INTERVAL, || scene.value(SHIPPED).is_none());
    println!("burst: over after {:?}", begun.elapsed());
    let fired = SHIPPED.replace("time=", "alertstate=\"firing\",time=");
    assert_eq!(scene.value(&format!("max_over_time({fired}[5m])")), None);
}
