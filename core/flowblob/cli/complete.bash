# Completion of flowblob for bash. References hold @ and :, at which bash breaks words, so the line
# is split here, and what stands before the last break is taken off the answers again.
_flowblob_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" word="" count kind value reply
    local -a words
    read -ra words <<< "$line"
    count=${#words[@]}
    if [[ "$line" == *[[:space:]] ]]; then
        line+="''"
    else
        count=$((count - 1))
        word="${words[count]}"
    fi
    local prefix="${word%"${word##*[@:=]}"}"
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain)
                # %q, because a key may hold what a shell would run.
                printf -v reply %q "${value#"$prefix"}"
                COMPREPLY+=("$reply")
                ;;
        esac
    done < <(COMP_WORDS="$line" COMP_CWORD="$count" _FLOWBLOB_COMPLETE=bash_complete "$1" 2>/dev/null)
    return 0
}
complete -o nosort -F _flowblob_completion flowblob 2>/dev/null ||
    complete -F _flowblob_completion flowblob
