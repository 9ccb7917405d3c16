/* The coherence protocol of src/cache on one node, for spin. script/model runs it.
 *
 * What is in it, and where it comes from:
 *   Slots                  slots.h: of everything, and of each row. Versions are not counted: what
 *                          a version says is whether a stamp was voided since, and that is kept
 *                          with the stamp. Pending transactions are a set, as in coherence.cc.
 *   Feed                   invalidator.cc, coherence.cc: hold, void, position, each a step of its
 *                          own; lost() and resumed(); set_views(); also the keeper's settle(),
 *                          which shares its thread.
 *   Keeper                 keeper.cc: the valve opens again.
 *   Transaction            the database's part (flushed, visible and delivered in any order that
 *                          PostgreSQL allows) and commit_wait.cc.
 *   Reader, Flight         view_reader.cc, flights.cc. One reader reads KEYS keys (MGET).
 *   Publication            a configuration that is loaded again: new definitions of the views.
 *
 * A value is the set of transactions that it shows, and the generation of its view's definition.
 * What is checked: no read that begins after an acknowledgement misses it; no read gets the answer
 * of a definition older than the one it asked for; at rest what is kept is what the database has;
 * nobody waits for ever.
 *
 * Parts:      VALVE, BREAKS=n, LAZY (the last transaction does not wait for the disk), FAILOVER (the
 *             break loses the end of the log), MOVES (the same, and the feed hears of it later than
 *             all others: it goes on with the old server's log), LAGS (it begins so, with
 *             a feed that is past all that the new server will write), AHEAD (it begins after such a
 *             break), BEGIN_SHUT, DATABASE (commit_wait: database), DDL (transaction 0 changes what
 *             the view depends on), RELOAD, STALLS (the feed may stop for ever), LIVENESS.
 * Mutations:  see script/model; each is a rule of the protocol left out. */

#ifndef TXNS
#define TXNS 2
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef KEYS
#define KEYS 1
#endif
#ifndef BREAKS
#define BREAKS 0
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 2
#endif
#define FLIGHTS (READERS * KEYS + 1)
#if defined(VALVE) || BREAKS > 0
#define MODES
#define SERVING serving
#else
#define SERVING true
#endif
#define ALL ((1 << TXNS) - 1)
#define ONE(t) (1 << (t))

/* The first transaction writes every key, the others the last key alone. */
#define WRITES(t, k) ((t) == 0 || (k) == KEYS - 1)
#define OF_KEY(k) ((k) == KEYS - 1 -> ALL : 1)

#if defined(DDL) || defined(RELOAD)
#define RULES_CHANGE
#endif
#ifdef DDL
#define DDL_TRANSACTION(t) ((t) == 0)
#else
#define DDL_TRANSACTION(t) false
#endif

#define SHUT 0
#define ARMED 1
#define OPEN 2

/* The database. */
byte log_[TXNS + 1], end_of[TXNS];
byte size = 0;      /* Flushed transactions. */
byte begun = 0;     /* Has an id. */
byte visible = 0;   /* To snapshots that are taken now. */
byte lazy = 0;      /* Visible, not flushed. */
byte gone = 0;      /* Lost with the old server. */
byte acked = 0;     /* Acknowledged to its client. */
byte cut = 0;       /* Its backend was of the old server. */
byte ended = 0;     /* Its client waits for nothing any more. */

/* The incarnation that answers, and the one that the feed is of. */
#ifdef LAGS
#define MOVES
#endif
#ifdef MOVES
#define FAILOVER
#ifdef LAGS
bit boot = 1, feed_boot = 0;
#else
bit boot = 0, feed_boot = 0;
#endif
#define FEED_IS_THERE (boot == feed_boot)
#ifdef IGNORE_BOOT
#define SAME_BOOT(b) true
#else
#define SAME_BOOT(b) ((b) == feed_boot)
#endif
#else
#define FEED_IS_THERE true
#endif

/* Coherence. */
#ifdef AHEAD
byte mode = SHUT;
byte applied = TXNS;
bool caching = false, continuous = false, paused = false;
#else
#ifdef BEGIN_SHUT
byte mode = SHUT;
#else
byte mode = OPEN;
#endif
#ifdef LAGS
byte applied = TXNS;
#else
byte applied = 0;
#endif
bool caching = true, continuous = true, paused = false;
#endif
byte pending_all = 0, pending[KEYS * 2];
bit generation = 0; /* Of the views. */
bit published = 0;  /* What readers see of it. */
bit wanted = 0;     /* The views are to be looked up again. */
byte timeouts = TIMEOUTS;

/* The store. */
bool kept[KEYS], kept_valid[KEYS];
byte kept_value[KEYS];
bit kept_generation[KEYS];

/* The board: flight 0 is none. */
byte flying[KEYS], queued[KEYS];
bool started[FLIGHTS], stamped[FLIGHTS], valid[FLIGHTS];
byte aboard[FLIGHTS]; /* Its passengers. */
bit definition[FLIGHTS];

byte next = 0;         /* Of the log, for the feed. */
bool applying = false; /* A transaction is half applied. */

/* What each reader may demand: what was acknowledged, and which definition, when it began. */
byte floor[READERS];
bit asked[READERS];
byte readers_begun = 0, readers_done = 0;

#ifdef LAZY
#define IS_LAZY(t) ((t) == TXNS - 1)
#else
#define IS_LAZY(t) false
#endif

#ifdef NO_TOKEN
#define GOOD(flag) true
#else
#define GOOD(flag) (flag)
#endif

inline append(t) {
  log_[size] = t;
  size++;
  end_of[t] = size
}

/* The log is one: what is flushed takes what was written before with it. */
inline flush_lazy() {
#ifdef LAZY
  if
  :: lazy -> append(TXNS - 1); lazy = 0
  :: else
  fi
#else
  skip
#endif
}

inline publish(position) {
  if
  :: position > applied -> applied = position
  :: else
  fi
}

inline void_slot(k, g) {
  d_step {
    if
    :: kept[k] && kept_generation[k] == g -> kept_valid[k] = false
    :: else
    fi;
    x = 1;
    do
    :: x < FLIGHTS -> valid[x] = valid[x] && !(x % KEYS == (k + 1) % KEYS && definition[x] == g); x++
    :: else -> break
    od;
    x = 0
  }
}

inline void_everything() {
  d_step {
    x = 0;
    do
    :: x < KEYS -> kept_valid[x] = false; x++
    :: else -> break
    od;
    x = 1;
    do
    :: x < FLIGHTS -> valid[x] = false; x++
    :: else -> break
    od;
    x = 0
  }
}

#ifdef LAST_PENDING_ONLY
#define HOLD(set, t) set = ONE(t)
#else
#define HOLD(set, t) set = set | ONE(t)
#endif

#ifdef FAILOVER
/* The end of the log may be lost; what is recovered is visible from the first moment. */
inline fail_over() {
  if
  :: size > 0 ->
    size--;
    gone = gone | ONE(log_[size]);
    visible = visible & ~ONE(log_[size])
  :: true
  fi;
  cut = begun;
  k = 0;
  do
  :: k < size -> visible = visible | ONE(log_[k]); k++
  :: else -> break
  od;
  k = 0
}
#endif

#if defined(MOVES) && !defined(LAGS)
proctype Server() {
  byte k;
end:
  atomic { fail_over(); boot = 1 }
}
#endif

proctype Transaction(byte t) {
  byte position;
#ifdef MOVES
  bit source;
#endif
#ifdef DDL
  /* The second transaction is of the schema that the first one makes. */
  (t == 0 || (visible & 1));
#endif
#if BREAKS > 0
  begun = begun | ONE(t);
#endif
  if
  :: IS_LAZY(t) -> atomic { lazy = lazy | ONE(t); visible = visible | ONE(t) }
  :: !IS_LAZY(t) ->
    atomic { flush_lazy(); append(t) };
#ifdef DATABASE
    /* We are the synchronous standby; a broken feed confirms when it is back. */
    (applied >= end_of[t]);
#endif
    atomic {
      if
      :: gone & ONE(t) -> goto dead
      :: else -> visible = visible | ONE(t)
      fi
    }
  fi;
#if !defined(NO_WAIT) && !defined(DATABASE)
  if
  :: mode == SHUT /* needed() is false */
  :: mode != SHUT ->
    if
    :: IS_LAZY(t) -> atomic { flush_lazy() } /* the nudge */
    :: else
    fi;
#ifdef MOVES
    atomic { position = size; source = boot };
#else
    position = size;
#endif
    if
#ifdef MOVES
    :: atomic { SAME_BOOT(source) && applied >= position -> source = 0 }
    :: atomic { !SAME_BOOT(source) -> mode = SHUT; source = 0 } /* give_up() */
#else
    :: applied >= position
#endif
    :: mode == SHUT
#ifdef FAILOVER
    :: cut & ONE(t) -> goto dead /* The visit ended with its backend. */
#endif
#if defined(VALVE) && !defined(NO_VALVE)
    :: atomic { timeouts > 0 && mode != SHUT -> timeouts--; mode = SHUT }
#ifdef STALLS
    :: atomic { mode != SHUT -> mode = SHUT } /* wait_max is a clock: it does not run out of them */
#endif
#endif
    fi
  fi;
#endif
  atomic { acked = acked | ONE(t); position = 0 };
dead:
  ended = ended | ONE(t)
}

proctype Feed() {
  byte t, k, x, position;
  byte breaks = BREAKS;
  bit g;
#ifdef AHEAD
  goto back;
#endif
end:
  do
  :: atomic { next < size && FEED_IS_THERE -> t = log_[next]; next++; applying = true };
#ifdef POSITION_FIRST
    publish(next);
#endif
#ifdef RULES_CHANGE
    if
    :: DDL_TRANSACTION(t) ->
      atomic { paused = true; caching = false };
      HOLD(pending_all, t);
      void_everything();
      wanted = 1
    :: else ->
      /* A row is seen by the rules of the views that the feed has. */
      g = generation;
      HOLD(pending[g * KEYS], t);
      void_slot(0, g)
    fi;
#else
    k = (t == 0 -> 0 : KEYS - 1);
    do
    :: atomic { k < KEYS -> HOLD(pending[k], t); HOLD(pending[KEYS + k], t); k++ }
    :: atomic { k == KEYS -> k = (t == 0 -> 0 : KEYS - 1); break }
    od;
    do
    :: atomic { k < KEYS -> void_slot(k, 0); void_slot(k, 1); k++ }
    :: atomic { k == KEYS -> k = 0; break }
    od;
#endif
    atomic { publish(next); applying = false; t = 0; g = 0 }

    /* settle(). What a snapshot sees is seen by later ones too, so that it was taken a while ago
       makes no difference but fewer settled. */
  :: d_step {
      FEED_IS_THERE && visible & (pending_all | pending[0] | pending[KEYS - 1] | pending[KEYS] |
                 pending[2 * KEYS - 1]) ->
      pending_all = pending_all & ~visible;
      do
      :: k < 2 * KEYS -> pending[k] = pending[k] & ~visible; k++
      :: else -> break
      od;
      k = 0
    }

#ifdef RULES_CHANGE
  :: wanted ->
    atomic { wanted = 0; caching = false };
#ifndef FORGET_PENDING
    atomic { pending_all = pending_all | pending[0] };
#endif
    generation = 1;
    void_everything();
    atomic { paused = false; caching = continuous };
    published = 1
#endif

#if BREAKS > 0
#ifdef MOVES
  :: atomic { breaks > 0 && boot != feed_boot -> breaks--; continuous = false; caching = false };
#else
  :: atomic { breaks > 0 -> breaks--; continuous = false; caching = false };
#endif
    mode = SHUT;
    void_everything();
    d_step {
      pending_all = 0;
      k = 0;
      do
      :: k < 2 * KEYS -> pending[k] = 0; k++
      :: else -> break
      od;
      k = 0
    };
#ifdef MOVES
    feed_boot = boot;
#else
#ifdef FAILOVER
    atomic { fail_over() };
#endif
#endif
    /* It comes back. */
  back:
    skip;
#ifdef SNAPSHOT_BEFORE_POSITION
    t = begun & ~visible & ~gone;
    position = size;
#else
    position = size;
    t = begun & ~visible & ~gone;
#endif
    atomic { next = position; continuous = true; pending_all = t; t = 0 };
#ifdef KEEP_POSITION
    publish(position);
#else
    applied = position;
#endif
    mode = OPEN;
    atomic { caching = !paused; position = 0 }
#endif

#ifdef STALLS
  :: goto stalled
#endif
  od;
stalled:
  do
  :: false
  od
}

#ifdef VALVE
proctype Keeper() {
  byte position;
#ifdef MOVES
  bit source;
#endif
end:
  do
#ifndef NEVER_REOPEN
  :: atomic { mode == SHUT && continuous -> mode = ARMED };
#ifndef REOPEN_WITHOUT_NUDGE
    atomic { flush_lazy() };
#endif
#ifdef MOVES
    atomic { position = size; source = boot };
#else
    position = size;
#endif
    if
#ifdef MOVES
    :: atomic { mode == ARMED && !SAME_BOOT(source) -> mode = SHUT }
    :: applied >= position && SAME_BOOT(source) ->
#else
    :: applied >= position ->
#endif
      atomic {
        if
        :: mode == ARMED -> mode = OPEN
        :: else
        fi
      }
    :: mode != ARMED
    :: atomic { timeouts > 0 && mode == ARMED -> timeouts--; mode = SHUT }
    fi
#else
  :: mode == SHUT /* It looks, and does nothing. */
#endif
  od
}
#endif

#ifdef LAZY
proctype WalWriter() {
end:
  atomic { lazy -> flush_lazy() }
}
#endif

#ifdef RELOAD
proctype Publication() { wanted = 1 }
#endif

/* joinable(): not begun, or may be kept, good, and hits are served. */
#ifdef NAIVE_JOIN
#define SHAREABLE(f, serving) true
#else
#ifdef JOIN_WHILE_SHUT
#define SHAREABLE(f, serving) (!started[f] || (stamped[f] && GOOD(valid[f])))
#else
#define SHAREABLE(f, serving) (!started[f] || ((serving) && stamped[f] && GOOD(valid[f])))
#endif
#endif
#ifdef JOIN_OLDER_VIEW
#define NEW_ENOUGH(f, g) true
#else
#define NEW_ENOUGH(f, g) (definition[f] >= (g))
#endif

#define FRESH(r, k, shown) ((floor[r] & OF_KEY(k) & ~gone & ~(shown)) == 0)

proctype Flight(byte f; byte k) {
  bool keep;
#ifdef MOVES
  bit source;
#endif
  byte value, r;
  /* The pilot's loop: its turn has come. */
end:
  atomic { flying[k] == f -> valid[f] = true }; /* begin_fill(): the versions, */
#ifdef NO_GENERATION
  keep = caching;
#else
  keep = caching && generation == definition[f]; /* then caching and generation, */
#endif
#ifndef NO_FENCE
  keep = keep && !pending_all && !pending[definition[f] * KEYS + k]; /* then what is pending. */
#endif
  atomic {
    started[f] = true;
    stamped[f] = keep;
    keep = false
  };
#ifdef MOVES
  atomic { value = visible; source = boot }; /* The query. */
#else
  value = visible; /* The query. */
#endif
  atomic { /* keep() */
    if
#ifdef MOVES
    :: stamped[f] && GOOD(valid[f]) && SAME_BOOT(source) ->
#else
    :: stamped[f] && GOOD(valid[f]) ->
#endif
      kept[k] = true;
      kept_valid[k] = true;
      kept_value[k] = value;
      kept_generation[k] = definition[f]
    :: else
    fi
  };
  atomic {
    do
    :: r < READERS ->
      if
      :: aboard[f] & ONE(r) ->
        assert(FRESH(r, k, value));
        assert(definition[f] >= asked[r])
      :: else
      fi;
      r++
    :: else -> break
    od;
    r = 0;
    value = 0;
#ifdef MOVES
    source = 0;
#endif
    started[f] = false;
    stamped[f] = false;
    valid[f] = false;
    aboard[f] = 0;
    definition[f] = 0;
    flying[k] = queued[k];
    queued[k] = 0
  }
}

proctype Reader(byte r) {
  byte k, f;
  bool serving;
  /* Readers are alike, so they begin in the order of their numbers. */
  atomic { readers_begun == r -> readers_begun++; floor[r] = acked; asked[r] = published };
  do
  :: k < KEYS ->
    /* hit() */
#ifdef MODES
    serving = mode == OPEN;
#endif
    atomic {
      if
      :: (SERVING) && kept[k] && GOOD(kept_valid[k]) ->
        assert(FRESH(r, k, kept_value[k]));
        assert(kept_generation[k] >= asked[r]);
        k++;
        serving = false;
        goto again
      :: else
      fi
    };
    /* board() */
#ifdef MODES
    serving = mode == OPEN;
#endif
    atomic {
      if
      :: flying[k] && NEW_ENOUGH(flying[k], asked[r]) && SHAREABLE(flying[k], SERVING) ->
        f = flying[k]
      :: else ->
        if
        :: queued[k] ->
          f = queued[k];
#ifndef JOIN_OLDER_VIEW
          /* It is not in the air yet: the newer definition is taken. */
          definition[f] = definition[f] | asked[r]
#endif
        :: else ->
          f = r * KEYS + k + 1;
          definition[f] = asked[r];
          if
          :: flying[k] -> queued[k] = f
          :: else -> flying[k] = f
          fi
        fi
      fi;
      aboard[f] = aboard[f] | ONE(r);
      f = 0;
      k++;
      serving = false
    };
  again:
    skip
  :: atomic { k == KEYS -> readers_done++; k = 0; break }
  od
}

#ifndef LIVENESS
proctype Rest() {
  byte k;
#if defined(MOVES) && !defined(VALVE)
end: /* Nobody opens the valve again that a position of the other server has shut. */
#endif
  atomic {
    ended == ALL && next == size && !applying && !lazy && readers_done == READERS && mode == OPEN &&
        !pending_all && !pending[0] && !pending[KEYS - 1] && !pending[KEYS] && !wanted &&
        !flying[0] && !flying[KEYS - 1] && FEED_IS_THERE ->
    do
    :: k < KEYS ->
      assert(!(kept[k] && GOOD(kept_valid[k]) && generation == kept_generation[k]) ||
             (kept_value[k] & OF_KEY(k)) == (visible & OF_KEY(k)));
      k++
    :: k == KEYS -> break
    od
  }
}
#endif

init {
  byte i;
  atomic {
    do
    :: i < TXNS -> run Transaction(i); i++
    :: i == TXNS -> break
    od;
    i = 1;
    do
    :: i < FLIGHTS -> run Flight(i, (i - 1) % KEYS); i++
    :: i == FLIGHTS -> break
    od;
    i = 0;
    do
    :: i < READERS -> run Reader(i); i++
    :: i == READERS -> break
    od;
    run Feed();
#if defined(MOVES) && !defined(LAGS)
    run Server();
#endif
#ifdef VALVE
    run Keeper();
#endif
#ifdef LAZY
    run WalWriter();
#endif
#ifdef RELOAD
    run Publication();
#endif
#ifndef LIVENESS
    run Rest()
#endif
  }
}

#ifdef LIVENESS
#ifdef ACKNOWLEDGED
ltl acknowledged { <>(acked == ALL) }
#endif
#ifdef OPENS
ltl opens { <>[](mode == OPEN) }
#endif
#ifdef READ
ltl read { <>(readers_done == READERS && !flying[0]) }
#endif
#endif
