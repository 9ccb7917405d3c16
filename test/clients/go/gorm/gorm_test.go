// Package gorm tests GORM, over pgx, through the postgres door.
package gorm

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"meridian/test/clients/go/node"
)

type Author struct {
	ID        uint
	CreatedAt time.Time
	DeletedAt gorm.DeletedAt `gorm:"index"`
	Name      string         `gorm:"uniqueIndex;not null"`
	Portrait  []byte
	Books     []Book
}

type Book struct {
	ID       uint
	AuthorID uint   `gorm:"not null"`
	Title    string `gorm:"size:200"`
	Pages    int    `gorm:"check:pages > 0"`
}

// Both ways of GORM to run statements: prepared once for each text, or each time.
var ways = map[string]gorm.Config{
	"prepared":     {PrepareStmt: true, TranslateError: true},
	"not prepared": {PrepareStmt: false, TranslateError: true},
}

func eachWay(t *testing.T, test func(t *testing.T, database *gorm.DB)) {
	for name, config := range ways {
		for _, simple := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, simple protocol %v", name, simple), func(t *testing.T) {
				config.Logger = logger.Discard
				where := postgres.Config{DSN: node.PostgresText("sslmode=disable"), PreferSimpleProtocol: simple}
				database, err := gorm.Open(postgres.New(where), &config)
				if err != nil {
					t.Fatal(err)
				}
				pool, err := database.DB()
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Close()
				ok(t, database.AutoMigrate(&Author{}, &Book{}))
				defer func() {
					if err := database.Migrator().DropTable(&Book{}, &Author{}); err != nil {
						t.Error(err)
					}
				}()
				test(t, database)
			})
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, database *gorm.DB, model any) int64 {
	t.Helper()
	var found int64
	ok(t, database.Model(model).Count(&found).Error)
	return found
}

func TestModels(t *testing.T) {
	eachWay(t, func(t *testing.T, database *gorm.DB) {
		ok(t, database.AutoMigrate(&Author{}, &Book{})) // Now it reads what is there.
		author := Author{Name: "one", Books: []Book{{Title: "first", Pages: 10}, {Title: "second", Pages: 20}}}
		ok(t, database.Create(&author).Error)
		var found Author
		ok(t, database.Preload("Books", func(books *gorm.DB) *gorm.DB { return books.Order("id") }).
			First(&found, "name = ?", "one").Error)
		if len(found.Books) != 2 || found.Books[1].Title != "second" || found.CreatedAt.IsZero() {
			t.Fatal(found)
		}
		ok(t, database.Model(&found).Update("name", "changed").Error)
		ok(t, database.Model(&Book{}).Where("pages > ?", 15).Updates(map[string]any{"pages": gorm.Expr("pages + ?", 1)}).Error)
		var sum int
		ok(t, database.Raw("SELECT sum(pages) FROM books WHERE author_id = @id", map[string]any{"id": author.ID}).
			Scan(&sum).Error)
		if sum != 31 {
			t.Fatal(sum)
		}
		again := Author{ID: author.ID, Name: "by conflict"}
		ok(t, database.Clauses(clause.OnConflict{UpdateAll: true}).Create(&again).Error)
		ok(t, database.Delete(&Author{}, author.ID).Error)
		if err := database.First(&Author{}, author.ID).Error; !errors.Is(err, gorm.ErrRecordNotFound) {
			t.Fatal(err)
		}
		ok(t, database.Unscoped().Clauses(clause.Locking{Strength: "UPDATE"}).First(&found, author.ID).Error)
		if found.Name != "by conflict" {
			t.Fatal(found.Name)
		}
	})
}

func TestTransactionsAndErrors(t *testing.T) {
	eachWay(t, func(t *testing.T, database *gorm.DB) {
		given := errors.New("the client changes its mind")
		ok(t, database.Transaction(func(outer *gorm.DB) error {
			if err := outer.Create(&Author{Name: "outer"}).Error; err != nil {
				return err
			}
			err := outer.Transaction(func(inner *gorm.DB) error {
				if err := inner.Create(&Author{Name: "inner"}).Error; err != nil {
					return err
				}
				return given
			})
			if !errors.Is(err, given) {
				return fmt.Errorf("the inner transaction: %w", err)
			}
			err = outer.Transaction(func(inner *gorm.DB) error { return inner.Create(&Author{Name: "outer"}).Error })
			if !errors.Is(err, gorm.ErrDuplicatedKey) {
				return fmt.Errorf("a name given twice: %w", err)
			}
			return outer.Create(&Author{Name: "last"}).Error
		}))
		var names []string
		ok(t, database.Model(&Author{}).Order("id").Pluck("name", &names).Error)
		if len(names) != 2 || names[0] != "outer" || names[1] != "last" {
			t.Fatal(names)
		}
		if err := database.Create(&Author{Name: "last"}).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
			t.Fatal(err)
		}
		if err := database.Create(&Book{AuthorID: 4711, Pages: 1}).Error; !errors.Is(err, gorm.ErrForeignKeyViolated) {
			t.Fatal(err)
		}
		if err := database.Create(&Book{AuthorID: 1, Pages: 0}).Error; !errors.Is(err, gorm.ErrCheckConstraintViolated) {
			t.Fatal(err)
		}
		for _, failure := range node.Failures(t) {
			var told interface{ SQLState() string }
			if err := database.Exec(failure.SQL).Error; !errors.As(err, &told) || told.SQLState() != failure.State {
				t.Fatal(failure, err)
			}
		}
		if found := count(t, database, &Author{}); found != 2 {
			t.Fatal(found)
		}
	})
}

func TestManyRowsAndLargeValues(t *testing.T) {
	portrait := node.Large()
	eachWay(t, func(t *testing.T, database *gorm.DB) {
		ok(t, database.Create(&Author{Name: "one", Portrait: portrait}).Error)
		var found Author
		ok(t, database.First(&found).Error)
		if !bytes.Equal(found.Portrait, portrait) {
			t.Fatalf("the value came back changed, with %d bytes", len(found.Portrait))
		}
		// Three parameters a row: as many as the protocol can count.
		books := make([]Book, node.ParametersMax/3)
		for n := range books {
			books[n] = Book{AuthorID: found.ID, Title: fmt.Sprint(n), Pages: n + 1}
		}
		ok(t, database.Create(&books).Error)
		ok(t, database.CreateInBatches(make100(found.ID), 7).Error)
		read := 0
		var batch []Book
		ok(t, database.FindInBatches(&batch, 5_000, func(*gorm.DB, int) error { read += len(batch); return nil }).Error)
		if read != len(books)+100 {
			t.Fatal(read)
		}
		rows, err := database.Model(&Book{}).Rows()
		ok(t, err)
		defer rows.Close()
		for read = 0; rows.Next(); read++ {
			var book Book
			ok(t, database.ScanRows(rows, &book))
		}
		ok(t, rows.Err())
		if read != len(books)+100 {
			t.Fatal(read)
		}
	})
}

func make100(author uint) []Book {
	books := make([]Book, 100)
	for n := range books {
		books[n] = Book{AuthorID: author, Title: "one of many", Pages: 1}
	}
	return books
}

func TestManyAtATime(t *testing.T) {
	eachWay(t, func(t *testing.T, database *gorm.DB) {
		pool, err := database.DB()
		ok(t, err)
		pool.SetMaxOpenConns(16)
		var group sync.WaitGroup
		failures := make(chan error, 200)
		for n := range 200 {
			group.Add(1)
			go func() {
				defer group.Done()
				failures <- database.Transaction(func(tx *gorm.DB) error {
					return tx.Create(&Author{Name: fmt.Sprint(n)}).Error
				})
			}()
		}
		group.Wait()
		close(failures)
		for err := range failures {
			ok(t, err)
		}
		if found := count(t, database, &Author{}); found != 200 {
			t.Fatal(found)
		}
	})
}
