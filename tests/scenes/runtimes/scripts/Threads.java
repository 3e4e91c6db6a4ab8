import java.io.File;
import java.io.FileWriter;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/** Threads that compute, make garbage, hand numbers on and sleep; checks itself when the file `go` appears. */
public class Threads {
    static final List<String> faults = new ArrayList<>();
    static final AtomicLong sums = new AtomicLong(), tables = new AtomicLong(), taken = new AtomicLong(), slept = new AtomicLong();
    static final AtomicInteger given = new AtomicInteger();

    static synchronized void expect(boolean condition, String text) {
        if (!condition) faults.add(text);
    }

    interface Work {
        void run() throws Exception;
    }

    static void start(String name, Work work) {
        Thread thread = new Thread(() -> {
            try {
                for (;;) work.run();
            } catch (Throwable e) {
                expect(false, name + ": " + e);
            }
        }, name);
        thread.setDaemon(true);
        thread.start();
    }

    static long sum(int rounds) {
        long value = 1;
        for (int k = 0; k < rounds; k++) value = value * 48271 % 2147483647;
        return value;
    }

    static String digest(int rounds) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        for (int k = 0; k < rounds; k++) digest.update((byte) k);
        return new java.math.BigInteger(1, digest.digest()).toString(16);
    }

    public static void main(String[] arguments) throws Exception {
        long want = sum(50000);
        String word = digest(1000);
        for (int k = 0; k < 2; k++) {
            start("sum", () -> {
                expect(sum(50000) == want, "another sum");
                sums.incrementAndGet();
            });
        }
        start("table", () -> {
            Map<Integer, String> table = new HashMap<>();
            for (int k = 0; k < 3000; k++) table.put(k, "row " + k);
            expect(table.size() == 3000 && table.get(2999).equals("row 2999"), "another table");
            expect(digest(1000).equals(word), "another digest");
            tables.incrementAndGet();
        });
        ArrayBlockingQueue<Integer> queue = new ArrayBlockingQueue<>(8);
        start("giver", () -> {
            queue.put(given.getAndIncrement());
            Thread.sleep(5);
        });
        start("taker", () -> {
            int number = queue.take();
            expect(number == taken.getAndIncrement(), "number " + number);
        });
        start("sleeper", () -> {
            long before = System.nanoTime();
            Thread.sleep(20);
            expect(System.nanoTime() - before >= 19_000_000, "a sleep of 20 ms was shorter");
            slept.incrementAndGet();
        });
        while (sums.get() < 2 || tables.get() < 2 || taken.get() < 2) Thread.sleep(20);
        System.out.println("ready");
        while (!new File("go").exists()) {
            try (FileWriter file = new FileWriter("heartbeat")) {
                file.write(sums + " " + tables + " " + taken + " " + slept);
            }
            Thread.sleep(50);
        }
        for (AtomicLong count : List.of(sums, tables, taken, slept)) {
            long before = count.get(), end = System.nanoTime() + 10_000_000_000L;
            while (count.get() == before && System.nanoTime() < end) Thread.sleep(20);
            expect(count.get() != before, "a thread stands still at " + before);
        }
        System.gc();
        synchronized (Threads.class) {
            for (String fault : faults) System.out.println("FAIL " + fault);
            System.out.println(faults.isEmpty() ? "PASS" : "FAILED " + faults.size());
        }
        System.exit(faults.isEmpty() ? 0 : 1);
    }
}
