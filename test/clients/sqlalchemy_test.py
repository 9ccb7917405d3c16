"""SQLAlchemy, over psycopg and asyncpg, through the postgres door."""

import asyncio
import ssl
import unittest

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from node import SQLSTATES, Node, REFUSALS

LARGE_SIZE = 100_000_000
ASYNC_DRIVERS = ("postgresql+asyncpg", "postgresql+psycopg_async")


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "sa_authors"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)
    details: orm.Mapped[dict] = orm.mapped_column(JSONB, default=dict)
    portrait: orm.Mapped[bytes | None] = orm.mapped_column(deferred=True)
    books: orm.Mapped[list["Book"]] = orm.relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "sa_books"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("sa_authors.id"))
    pages: orm.Mapped[int]
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


class SqlalchemyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Node())
        cls.token = cls.node.token()

    def url(self, driver="postgresql+psycopg", token=None, host="127.0.0.1"):
        return sa.URL.create(driver, "checkout", token or self.token, host, self.node.doors["postgres"][1], "shop")

    def engine(self, **more):
        engine = sa.create_engine(self.url(), **more)
        self.addCleanup(engine.dispose)
        return engine

    def with_tables(self, engine):
        Base.metadata.create_all(engine)
        self.addCleanup(Base.metadata.drop_all, engine)
        return engine

    def test_objects(self):
        engine = self.with_tables(self.engine())
        with orm.Session(engine) as session, session.begin():
            session.add(Author(name="one", details={"n": [1, 2]}, books=[Book(pages=n + 1) for n in range(3_000)]))
        with orm.Session(engine) as session:
            author = session.scalars(sa.select(Author).options(orm.selectinload(Author.books))).one()
            self.assertEqual(sum(book.pages for book in author.books), 3_000 * 3_001 // 2)
            self.assertEqual(author.details, {"n": [1, 2]})
            author.name = "changed"
            del author.books[:2_990]
            session.commit()
            self.assertEqual(session.scalar(sa.select(sa.func.count()).select_from(Book)), 10)
            session.execute(insert(Author).values(name="changed").on_conflict_do_update(
                index_elements=["name"], set_={"name": "by conflict"}))
            session.execute(sa.update(Book).where(Book.pages > 2_995).values(pages=Book.pages + 1))
            locked = session.scalars(sa.select(Author).with_for_update().execution_options(populate_existing=True)).one()
            self.assertEqual(locked.name, "by conflict")
            session.rollback()
            self.assertEqual(session.scalars(sa.select(Author.name)).all(), ["changed"])

    def test_reflection(self):
        inspector = sa.inspect(self.engine())
        self.assertIn("orders", inspector.get_table_names())
        found = sa.Table("orders", sa.MetaData(), autoload_with=self.engine())
        self.assertEqual([column.name for column in found.primary_key], ["id"])
        self.assertEqual([key.referred_table.name for key in found.foreign_key_constraints], ["customers"])
        self.assertEqual(len(inspector.get_check_constraints("orders")), 1)

    def test_transactions_and_errors(self):
        engine = self.with_tables(self.engine())
        with orm.Session(engine) as session, session.begin():
            session.add(Author(name="outer"))
            with self.assertRaises(sa.exc.IntegrityError) as caught, session.begin_nested():
                session.add(Author(name="outer"))
                session.flush()
            self.assertEqual(caught.exception.orig.sqlstate, "23505")
            session.add(Author(name="last"))
        with engine.connect() as connection:
            self.assertEqual(connection.scalars(sa.select(Author.name).order_by(Author.id)).all(), ["outer", "last"])
            for text, state in SQLSTATES:
                with self.assertRaises(sa.exc.DBAPIError) as caught:
                    connection.exec_driver_sql(text)
                self.assertEqual(caught.exception.orig.sqlstate, state, text)
                self.assertFalse(caught.exception.connection_invalidated)
                connection.rollback()
                self.assertEqual(connection.scalar(sa.text("SELECT :n + 1"), {"n": 6}), 7)
                connection.rollback()
        strict = engine.execution_options(isolation_level="SERIALIZABLE")
        with strict.connect() as one, strict.connect() as two:
            for number, connection in enumerate((one, two), 1):
                connection.execute(sa.text("SELECT sum(total_cents) FROM orders WHERE id < 10"))
                connection.execute(sa.text("UPDATE orders SET total_cents = total_cents + 1 WHERE id = :n"), {"n": number})
            one.commit()
            with self.assertRaises(sa.exc.OperationalError) as caught:
                two.commit()
            self.assertEqual(caught.exception.orig.sqlstate, "40001")
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("VACUUM sa_books")

    def test_many_rows_and_large_values(self):
        engine = self.with_tables(self.engine())
        portrait = bytes(range(256)) * (LARGE_SIZE // 256)
        with orm.Session(engine) as session:
            session.add(Author(name="one", portrait=portrait))
            session.commit()
            author = session.scalars(sa.select(Author).options(orm.undefer(Author.portrait))).one()
            self.assertTrue(author.portrait == portrait)
            ids = session.scalars(sa.insert(Book).returning(Book.id, sort_by_parameter_order=True),
                                  [{"author_id": author.id, "pages": n} for n in range(20_000)]).all()
            self.assertEqual(ids, sorted(ids))
            session.execute(sa.text("INSERT INTO sa_books (author_id, pages) VALUES (:a, :n)"),
                            [{"a": author.id, "n": n} for n in range(2_000)])
            session.commit()
            streamed = session.scalars(sa.select(Book.pages).execution_options(yield_per=500))
            self.assertEqual(sum(1 for _ in streamed), 22_000)
            many = list(range(65_535))
            found = session.scalar(sa.select(sa.func.count()).select_from(Book).where(Book.pages.in_(many)))
            self.assertEqual(found, 22_000)

    def test_pools(self):
        engine = self.engine(pool_size=5, max_overflow=5, pool_pre_ping=True, pool_reset_on_return="rollback")
        for _ in range(3):
            with engine.connect() as connection:
                process = connection.scalar(sa.text("SELECT pg_backend_pid()"))
            # The next user of the pool finds the session ended, and is given another.
            self.node.owner_sql(f"SELECT pg_terminate_backend({process})")
            with engine.connect() as connection:
                self.assertEqual(connection.scalar(sa.text("SELECT 1")), 1)
        trusted = {"sslmode": "verify-full", "sslrootcert": str(self.node.ca)}
        encrypted = sa.create_engine(self.url(host="localhost"), connect_args=trusted)
        with encrypted.connect() as connection:
            self.assertEqual(connection.scalar(sa.text("SELECT current_user")), "checkout")
        encrypted.dispose()

    def test_async(self):
        async def story(driver):
            arguments = {"ssl": False} if "asyncpg" in driver else {"sslmode": "disable"}
            engine = create_async_engine(self.url(driver), pool_size=8, connect_args=arguments)

            async def one(number):
                async with engine.begin() as connection:
                    return await connection.scalar(sa.text("SELECT CAST(:n AS int) + 1"), {"n": number})

            self.assertEqual(await asyncio.gather(*(one(n) for n in range(200))), [n + 1 for n in range(200)])
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            try:
                async with AsyncSession(engine, expire_on_commit=False) as session:
                    session.add(Author(name="one", books=[Book(pages=n) for n in range(1_000)]))
                    await session.commit()
                    session.add(Author(name="one"))
                    with self.assertRaises(sa.exc.IntegrityError) as caught:
                        await session.commit()
                    self.assertEqual(caught.exception.orig.sqlstate, "23505")
                    await session.rollback()
                    author = (await session.scalars(sa.select(Author).options(orm.selectinload(Author.books)))).one()
                    self.assertEqual(len(author.books), 1_000)
                    rows = await session.stream_scalars(sa.select(Book.pages).execution_options(yield_per=100))
                    self.assertEqual(sum([pages async for pages in rows]), 1_000 * 999 // 2)
                async with engine.connect() as connection:
                    for text, state in SQLSTATES:
                        with self.assertRaises(sa.exc.DBAPIError) as caught:
                            await connection.exec_driver_sql(text)
                        self.assertEqual(caught.exception.orig.sqlstate, state, text)
                        await connection.rollback()
                    with self.assertRaises(asyncio.TimeoutError):
                        await asyncio.wait_for(connection.execute(sa.text("SELECT pg_sleep(60)")), 0.5)
                async with engine.connect() as connection:
                    self.assertEqual(await connection.scalar(sa.text("SELECT 1")), 1)
            finally:
                async with engine.begin() as connection:
                    await connection.run_sync(Base.metadata.drop_all)
                await engine.dispose()

        for driver in ASYNC_DRIVERS:
            with self.subTest(driver):
                asyncio.run(story(driver))

    def test_async_tls(self):
        async def story():
            trusted = ssl.create_default_context(cafile=str(self.node.ca))
            engine = create_async_engine(self.url(ASYNC_DRIVERS[0], host="localhost"), connect_args={"ssl": trusted})
            async with engine.connect() as connection:
                self.assertEqual(await connection.scalar(sa.text("SELECT 1")), 1)
            await engine.dispose()

        asyncio.run(story())

    def test_bad_tokens_are_refused_with_the_rule(self):
        for kind, token in self.node.bad_tokens().items():
            engine = sa.create_engine(self.url(token=token))
            with self.subTest(kind), self.assertRaisesRegex(sa.exc.OperationalError, REFUSALS[kind]):
                engine.connect()
            engine.dispose()


if __name__ == "__main__":
    unittest.main()
