package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"purepool/ledger"
)

// The original's API, with its bytes: Python's json.dumps puts a blank after
// each comma and colon.

// maxSubsidyDays bounds how far back subsidies are summed: a hundred years.
const maxSubsidyDays = 36_500

func (s *Server) originalStatistics(q *request) int {
	return s.original(q, "statistics", 60*time.Second, func(b *builder) (string, error) {
		p, err := b.pulse()
		if err != nil {
			return "", err
		}
		st, err := b.statistics()
		if err != nil {
			return "", err
		}
		percent, mined := "0", "null"
		if st.AllBlocks > 0 {
			percent = pythonFloat(percentOf(st.PoolBlocks, st.AllBlocks))
		}
		if st.PoolBlocks > 0 {
			mined = string(coinsJSON(st.Mined))
		}
		return fmt.Sprintf(`{"network": "%s", "days": 1, "current_height": %d, "all_blocks": %d, "pool_blocks": %d, "pool_blocks_percent": %s, "bbp_mined": %s, "miners_count": %d}`,
			b.network.Name, p.Height, st.AllBlocks, st.PoolBlocks, percent, mined, st.MinersCredited), nil
	})
}

func (s *Server) originalSubsidySum(q *request) int {
	if q.rest == "" || strings.Trim(q.rest, "0123456789") != "" {
		return s.apiFail(q, http.StatusNotFound, "there is nothing here; days is a whole number")
	}
	days, err := strconv.Atoi(q.rest)
	if err != nil || days > maxSubsidyDays {
		return s.apiFail(q, http.StatusBadRequest, "days must be from 0 to "+strconv.Itoa(maxSubsidyDays))
	}
	return s.original(q, "subsidysum "+strconv.Itoa(days), 600*time.Second, func(b *builder) (string, error) {
		to := b.now
		k, err := s.sums.get(b.ctx, fmt.Sprint(b.network.Name, " ", days), func(ctx context.Context) (ledger.ChainSum, error) {
			return s.store.SubsidySum(ctx, b.network.ID, to.AddDate(0, 0, -days), to)
		})
		sum, err := note(b, k, err)
		if err != nil {
			return "", err
		}
		if sum.Blocks == 0 {
			return `{"sum": null, "count": 0}`, nil
		}
		return fmt.Sprintf(`{"sum": %s, "count": %d}`, coinsJSON(sum.Subsidy), sum.Blocks), nil
	})
}

// original answers with JSON that is kept for as long as the original kept it
// by those who ask; what is read from the database is fresher.
func (s *Server) original(q *request, cacheKey string, maxAge time.Duration, build func(b *builder) (string, error)) int {
	k, err := s.written.get(q.Context(), "original "+q.network.Name+" "+cacheKey, func(ctx context.Context) (*answer, error) {
		text, err := build(s.build(ctx, q.network))
		if err != nil {
			return nil, err
		}
		a := s.newAnswer(http.StatusOK, "application/json", []byte(text), maxAge)
		a.public = true
		return a, nil
	})
	if err == nil {
		err = k.Err
	}
	if err != nil {
		return s.apiError(q, err)
	}
	return k.Value.send(q.w, q.Request)
}

// pythonFloat writes a float as Python does: always with a point.
func pythonFloat(f float64) string {
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

func jsonInt(n int64) string { return strconv.FormatInt(n, 10) }

// decimalCoins writes satoshis as a decimal number of coins.
func decimalCoins(satoshis int64) string {
	m := magnitude(satoshis)
	text := strings.TrimRight(fmt.Sprintf("%d.%08d", m/satoshisPerCoin, m%satoshisPerCoin), "0")
	if satoshis < 0 {
		text = "-" + text
	}
	return text
}
