use super::*;
#[test]
fn perf() {
    for n in [1, 10, 64, 1000, 100_000] {
        for policy in PolicyKind::ALL {
            let mut s = spec(policy, n);
            s.members.iter_mut().enumerate().for_each(|(i, m)| m.weight = 1 + (i as u32 % 3));
            let t = std::time::Instant::now();
            let mut bench = Bench::new(s);
            let built = t.elapsed();
            for _ in 0..n.min(1000) * 3 { bench.now += 1000; let l = bench.acquire().unwrap(); l.finish(Outcome::Success, bench.now + 500_000); }
            let now = bench.now;
            let k = 2_000_000;
            let t = std::time::Instant::now();
            let mut x = 0;
            for _ in 0..k { x += bench.pool.select(&Request::default(), now, &mut bench.rng).unwrap().member; }
            let sel = t.elapsed().as_nanos() as f64 / k as f64;
            let t = std::time::Instant::now();
            let mut now = now;
            for _ in 0..k { now += 2000; let l = bench.pool.acquire(&Request::default(), now, &mut bench.rng).unwrap(); l.finish(Outcome::Success, now + 1000_000); }
            let acq = t.elapsed().as_nanos() as f64 / k as f64;
            let t = std::time::Instant::now();
            for i in 0..10 { bench.registry.set_health("a", if i % 2 == 0 { Health::Degraded } else { Health::Healthy }, "x", now); let _ = bench.pool.select(&Request::default(), now, &mut bench.rng); }
            eprintln!("{n:>6} {policy:<28} select {sel:6.1} acquire+finish {acq:6.1} build {built:?} rebuild {:?} {}", t.elapsed() / 10, x % 2);
        }
    }
}
