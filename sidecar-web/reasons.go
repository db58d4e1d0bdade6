package web

import "strings"

// advice says what a refusal means and what the miner can do about it.
type advice struct {
	Meaning string
	Do      string
	// Stale: the share came too late, which happens to everybody now and then.
	Stale bool
}

// adviceFor explains a reason that stands in the ledger. Reasons are a fixed few
// (docs/PROTOCOL.md); one that is not known here is shown by its name.
func adviceFor(reason string) advice {
	if a, ok := advices()[reason]; ok {
		return a
	}
	if strings.HasPrefix(reason, "TransactionTampered") {
		return advice{Meaning: "The block in the share is not the one that the pool asked for.", Do: "Update the miner. If it goes on, tell the operator this reason."}
	}
	return advice{Meaning: "The pool could not take the share.", Do: "If it goes on, tell the operator this reason."}
}

func advices() map[string]advice {
	const update = "Update the miner to its newest version."
	return map[string]advice{
		"TransactionTampered: Wrong height": {"It was found for a block that somebody else had already completed.", "A few in a hundred are normal. More: check the line between your miner and the pool, and that your node is in sync.", true},
		"PrevBlockHashWrong":                {"It builds on another block than the chain's newest.", "A few are normal after a new block. More: your node may be on a fork; let it sync.", true},
		"PrevBlockTimeWrong":                {"It names a wrong time for the block before.", "Let your node sync; then " + lower(update), true},
		"WorkExpired":                       {"The work was too old when its solution came.", "Check that the miner asks for new work, and that its clock is right.", true},
		"StaleShare":                        {"It belongs to a job that a newer block has made worthless.", "A few in a hundred are normal. More: look for a slow line, or a miner that is slow to take new jobs.", true},
		"UnknownJob":                        {"The pool has not given out this job, or it is long over.", "A few are normal after the line was cut. Otherwise restart the miner.", true},
		"TimeOutOfRange":                    {"The time in the header is too far off.", "Set the clock of the miner's machine.", false},
		"ExtranonceWrong":                   {"The miner changed a part of the coinbase that is not his.", update, false},
		"VersionBitsWrong":                  {"The miner changed bits of the version that it may not.", "Switch version rolling off in the miner.", false},
		"UnknownWorker":                     {"The pool does not know the rig.", "Restart the miner, so that it logs in again.", false},
		"Stale":                             {"It came after the next block was found.", "A few in a hundred are normal. More: look for a slow line.", true},

		"BibleHashAlreadyKnown":                     {"The same solution was sent before.", "Harmless now and then. Often: two rigs share one configuration; give each its own name.", false},
		"HashTargetExceeded":                        {"The hash is not low enough for the work.", "The miner counts difficulty wrongly: " + lower(update), false},
		"BibleHashWrong":                            {"The hash that was sent is not the hash of the block.", "Lower overclocking and check memory; then " + lower(update), false},
		"BlockHashWrong":                            {"The header does not have the hash that was claimed.", update, false},
		"BlockTimeWrong":                            {"The time in the block is not the one that was sent.", update, false},
		"NonceWrong":                                {"The nonce in the block is not the one that was sent.", update, false},
		"MerkleRootWrong":                           {"The block's transactions do not fit its header.", update, false},
		"MinerGuidWrong":                            {"The block was made for another miner of the pool.", "Restart the miner, so that it asks for new work.", false},
		"UnknownWork":                               {"The pool has not given out this work.", "Restart the miner. Is it set to the right pool and network?", false},
		"WorkTampered":                              {"The work is not as the pool gave it out.", "Restart the miner, so that it asks for new work.", false},
		"SolutionInvalid":                           {"The solution could not be read.", update, false},
		"MinerDisabled":                             {"The operator has disabled this address.", "Ask the operator.", false},
		"MinerIgnored":                              {"The operator does not count this address's shares.", "Ask the operator.", false},
		"TransactionInvalid":                        {"The coinbase could not be read.", update, false},
		"TransactionTampered: Invalid recipient":    {"The block pays somebody else than the pool.", "Restart the miner, so that it asks for the pool's address again.", false},
		"TransactionTampered: Not the coinbase":     {"The transaction that was sent is not the block's coinbase.", update, false},
		"TransactionTampered: Pool paid too little": {"The block pays the pool less than it should.", update, false},
		"TransactionTampered: Nonce height wrong":   {"The nonce is higher than the chain allows by now.", "Set the clock of the miner's machine; then " + lower(update), false},
		"Biblepayd_Outdated":                        {"The pool's own node is too old to judge it.", "Nothing; the operator must update.", false},
		"Invalid_CPID":                              {"The signature of the research identity is wrong.", "Renew the CPID in your wallet.", false},
		"Illegal_CPID":                              {"The chain does not accept this research identity now.", "See the wallet's message on your CPID.", false},
		"Other":                                     {"It was refused for another reason.", "If it goes on, ask the operator.", false},
	}
}

func lower(s string) string { return strings.ToLower(s[:1]) + s[1:] }
